"""Faults of catching up: questions that nobody can answer, and what a snapshot could have swallowed."""

from kvstore.paxos.durable import GoverningConfiguration
from kvstore.paxos.effects import Fate, ProposalLost
from kvstore.paxos.messages import Accepted, CatchUp, SuspectReply
from kvstore.paxos.types import ZERO_BALLOT
from tests.paxos.bench import Bench, config_of, node, slot
from tests.paxos.world import World


def test_two_nodes_that_know_nothing_new_do_not_ask_each_other_in_circles() -> None:
    """Node 1 spoke of slots that it decided, and is gone. The quiet must return between two retries."""
    world = World((1, 2, 3))
    world.elect(1)
    world.propose(1, b"v")
    while not world.decided:
        if world.wires:
            world.deliver()
        else:
            for n in world.up:
                world.persist(n)
    world.wires.clear()
    world.call(node(2), lambda core: core.receive(node(3), SuspectReply(99, False, ZERO_BALLOT, slot(9)), world.now))
    world.crash(node(1))
    world.flush(steps_max=50)
    sent = sum(isinstance(w.message, CatchUp) for w in world.wires)
    assert sent == 0


def test_a_snapshot_does_not_swallow_what_was_decided_but_not_yet_taken() -> None:
    """The proposal's answer was in the drain that the snapshot made void; its fate is told all the same."""
    leader = Bench(1)
    at = leader.lead()
    proposal_id = leader.core.propose(b"v", leader.now)
    leader.drain()
    for sender in (2, 3):
        leader.core.receive(node(sender), Accepted(at, slot(0), slot(1)), leader.now)
    configurations = (GoverningConfiguration(slot(0), config_of(1, 2, 3)),)
    leader.core.installed(decided_end=slot(5), configurations=configurations, now=leader.now)
    effects = leader.drain()
    assert effects.decided == ()
    assert effects.proposals_lost == (ProposalLost(proposal_id, Fate.UNKNOWN),)
