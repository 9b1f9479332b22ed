"""What leases are for: a leader that has one answers reads at once, and asks nobody."""

from kvstore.paxos.messages import Accept
from kvstore.paxos.types import Application, NodeId
from tests.paxos.leases.leased import DRIFT, LEASE_S, beat, hurry, is_answered, leased


def test_a_leader_with_a_lease_answers_at_once_and_asks_nobody() -> None:
    world = leased()
    world.propose(1, b"a")
    world.flush()
    assert is_answered(world, 1)


def test_a_leader_without_one_asks() -> None:
    """Where the configuration wants none, and where it is the only difference."""
    world = leased(lease_s=0.0)
    assert not is_answered(world, 1)
    world.flush()
    assert len(world.nodes[NodeId(1)].reads_ready) == 1


def test_a_lease_is_renewed_while_heartbeats_are_answered() -> None:
    world = leased()
    for _ in range(30):
        world.run(0.1)
        assert is_answered(world, 1)


def test_a_lease_ends_with_its_time_and_reads_ask_again() -> None:
    """Shorter by the drift than what was granted; to the millisecond."""
    world = leased()
    world.isolate(1)
    world.run(LEASE_S * (1 - DRIFT) - 0.001)
    assert is_answered(world, 1)
    world.now += 0.002
    assert not is_answered(world, 1)


def test_it_takes_a_quorum_of_grants() -> None:
    """Of five: with one follower none, with two there is a lease."""
    world = leased(5)
    world.isolate(1)
    world.run(LEASE_S)
    world.blocked -= {(NodeId(1), NodeId(2)), (NodeId(2), NodeId(1))}
    beat(world)
    assert not is_answered(world, 1)
    world.blocked -= {(NodeId(1), NodeId(3)), (NodeId(3), NodeId(1))}
    beat(world)
    assert is_answered(world, 1)


def test_a_new_leader_reads_by_its_lease_only_what_it_has_decided() -> None:
    """What phase 1 found must be decided before, lease or not (L7)."""
    world = leased()
    world.isolate(3)
    world.propose(1, b"found")
    while not any(isinstance(wire.message, Accept) for wire in world.wires):
        world.persist_everywhere()
    world.deliver(next(i for i, w in enumerate(world.wires) if w.to == 2))
    world.persist(NodeId(2))
    world.isolate(1)
    world.blocked -= {(NodeId(2), NodeId(3)), (NodeId(3), NodeId(2))}
    hurry(world, 2, 3)
    world.run_until(lambda: 2 in world.leaders() or 3 in world.leaders(), within_s=5.0)
    leader = world.leader()
    read_id = world.read(leader)
    world.run(0.3)
    assert world.nodes[leader].reads_ready[read_id] >= 1
    assert Application(b"found") in world.decided.values()
