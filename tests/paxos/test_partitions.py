"""Whatever links are cut: while one node reaches a quorum and is reached by it, the cluster makes progress soon."""

import itertools
from random import Random

import pytest

from kvstore.paxos.types import NodeId

from .world import World

TIMEOUT_S = 1.0
Links = frozenset[tuple[NodeId, NodeId]]


def hubs(nodes: list[NodeId], up: Links) -> list[NodeId]:
    """Nodes that exchange messages, in both directions, with a quorum (themselves included)."""
    return [n for n in nodes if 1 + sum((n, m) in up and (m, n) in up for m in nodes if m != n) >= len(nodes) // 2 + 1]


def progress(world: World, up: Links, *, within_s: float) -> float:
    nodes = list(world.nodes)
    world.blocked = {(a, b) for a in nodes for b in nodes if a != b and (a, b) not in up}
    begun = world.now
    tries = 0
    done_before = world.decided_end
    while world.decided_end == done_before:
        assert world.now - begun < within_s, f"no progress within {within_s} s over {sorted(up)}"
        tries += 1
        for node_id in world.leaders():
            if world.core(node_id).window_free:
                world.propose(node_id, b"%d.%d" % (node_id, tries))
        world.run(0.05)
    return world.now - begun


def three_node_shapes() -> list[Links]:
    pairs = [(NodeId(a), NodeId(b)) for a, b in itertools.permutations((1, 2, 3), 2)]
    shapes = [
        frozenset(itertools.compress(pairs, kept)) for kept in itertools.product((False, True), repeat=len(pairs))
    ]
    return [shape for shape in shapes if hubs([NodeId(n) for n in (1, 2, 3)], shape)]


@pytest.mark.parametrize("leader", [1, 2, 3])
def test_three_nodes_survive_every_cut_that_leaves_one_of_them_a_quorum(leader: int) -> None:
    """Exhaustive: all directed cuts of three nodes, whoever led before. Progress within 4 election timeouts."""
    shapes = three_node_shapes()
    assert len(shapes) == 37
    for seed, shape in enumerate(shapes):
        world = World((1, 2, 3), seed=seed)
        world.elect(leader)
        world.run(0.5)
        progress(world, shape, within_s=4 * TIMEOUT_S)


@pytest.mark.parametrize("hub", [1, 3, 5])
def test_quorum_loss_all_but_the_hub_lose_everyone_else(hub: int) -> None:
    """A star: only the hub reaches a quorum. The leaves keep asking it, and that must not keep it from standing."""
    others = [n for n in range(1, 6) if n != hub]
    for seed in range(20):
        world = World(range(1, 6), seed=seed)
        world.elect(others[seed % 4])
        world.run(0.5)
        star = frozenset((NodeId(a), NodeId(b)) for a, b in itertools.permutations(range(1, 6), 2) if hub in (a, b))
        progress(world, star, within_s=4 * TIMEOUT_S)


def test_constrained_election_the_hub_is_behind() -> None:
    """The leader reaches one node of the rest only; the hub, which reaches a quorum, missed decided slots."""
    for seed in range(20):
        world = World(range(1, 6), seed=seed)
        world.elect(1)
        world.run(0.3)
        world.isolate(2)
        for number in range(3):
            world.propose(1, b"%d" % number)
        world.run(0.3)
        star = frozenset((NodeId(a), NodeId(b)) for a, b in itertools.permutations(range(1, 6), 2) if 2 in (a, b))
        progress(world, star - {(NodeId(1), NodeId(2)), (NodeId(2), NodeId(1))}, within_s=4 * TIMEOUT_S)


def test_chained_both_ends_of_a_chain_keep_the_peace() -> None:
    """1 - 2 - 3, 1 leads: 3 hears no leader, but 2 does. Nobody deposes anybody and the ballot stays."""
    world = World((1, 2, 3))
    world.elect(1)
    world.run(0.5)
    ballot = world.core(1).status().ballot
    world.block(1, 3)
    for number in range(10):
        world.propose(1, b"%d" % number)
        world.run(1.0)
    assert world.core(1).status().ballot == ballot
    assert world.leaders() == [1]
    assert world.core(3).status().decided_end == world.decided_end  # it learned from 2


def test_five_nodes_survive_random_cuts() -> None:
    """Directed cuts of five nodes, at random, one after the other on the same cluster."""
    rng = Random(7)
    pairs = [(NodeId(a), NodeId(b)) for a, b in itertools.permutations(range(1, 6), 2)]
    for seed in range(15):
        world = World(range(1, 6), seed=seed)
        world.run(2.0)
        for _ in range(4):
            shape: Links = frozenset()
            while not hubs(list(world.nodes), shape):
                shape = frozenset(pair for pair in pairs if rng.random() < 0.6)
            progress(world, shape, within_s=6 * TIMEOUT_S)


def test_a_flapping_link_does_not_drive_the_ballots_up() -> None:
    """At most one change of leadership per flap, even of the leader's own links."""
    world = World((1, 2, 3), seed=3)
    world.elect(1)
    for flap in range(1, 11):
        world.isolate(1)
        world.run(0.6)
        world.heal()
        world.run(0.6)
        assert max(world.core(n).status().promised.round for n in world.up) <= 1 + flap
