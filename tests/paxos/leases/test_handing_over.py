"""A leader that hands over gives its lease up, and nobody else's."""

import pytest

from kvstore.paxos.gate import Gate
from kvstore.paxos.lease import LeaseGrants
from kvstore.paxos.messages import Heartbeat, HeartbeatReply, Prepare, Promise, Transfer
from kvstore.paxos.types import ZERO_BALLOT, Ballot, NodeId, Slot
from tests.paxos.judge import InFlight
from tests.paxos.leases.leased import LEASE_S, is_answered, leadership, leased, run_until_another_writes


@pytest.mark.parametrize("voters", [3, 5])
def test_a_hand_over_does_not_wait_for_the_lease(voters: int) -> None:
    """Time stands still; the successor's Prepare names the ballot that gave its lease up, and frees its grantors."""
    world = leased(voters)
    ballot = world.core(1).status().ballot
    begun = world.now
    world.keep_history = True
    world.transfer(1, 2)
    world.flush()
    assert world.now == begun
    assert world.leaders() == [NodeId(2)]
    prepares = [e.message for h in world.nodes[NodeId(2)].history for e in h.messages if isinstance(e.message, Prepare)]
    assert {prepare.released for prepare in prepares} == {ballot}
    beat_of_two = world.time_at(2, leadership(world, 2).heartbeat_at)
    world.now = beat_of_two + 1e-9
    world.tick(2)
    world.flush()
    assert is_answered(world, 2), "the new one has a lease of its own"


def test_who_hands_over_reads_by_its_lease_no_more() -> None:
    """The successor is elected while the old leader hears nothing of it: its lease would run on."""
    world = leased()
    world.transfer(1, 2)
    world.isolate(1)
    world.wires = [
        InFlight(wire.sender, wire.to, wire.message) for wire in world.wires if isinstance(wire.message, Transfer)
    ]
    world.blocked.discard((NodeId(1), NodeId(2)))
    world.deliver(0)
    world.isolate(1)
    assert run_until_another_writes(world) < 0.01
    assert not is_answered(world, 1)


def test_only_the_ballot_that_holds_the_lease_can_release_it() -> None:
    world = leased()
    ballot = world.core(1).status().ballot
    for released in (None, Ballot(ballot.round, NodeId(3)), Ballot(ballot.round + 1, NodeId(1))):
        candidacy = Prepare(Ballot(ballot.round + 1, NodeId(3)), Slot(0), released)
        world.wires.clear()
        world.call(NodeId(2), lambda core, p=candidacy: core.receive(NodeId(3), p, world.clock(2)))  # type: ignore[misc]
        assert world.wires == []
        assert not world.persist(NodeId(2)), "it promised nothing"
    candidacy = Prepare(Ballot(ballot.round + 1, NodeId(3)), Slot(0), ballot)
    world.call(NodeId(2), lambda core: core.receive(NodeId(3), candidacy, world.clock(2)))
    world.persist(NodeId(2))
    assert [type(wire.message) for wire in world.wires] == [Promise]


def test_a_late_heartbeat_of_an_older_leader_does_not_take_a_lease_over() -> None:
    """Node 4 promised nothing to the new leader, yet granted it a lease. The old one's late heartbeat comes, and then
    it hands over to 4: what it releases is not the new leader's.
    """
    grants = LeaseGrants(Gate(durable_promise=ZERO_BALLOT), restarted_until=0.0)
    old, new = Ballot(1, NodeId(5)), Ballot(2, NodeId(1))
    assert grants.grant(new, now=9.5, until=10.0)
    assert not grants.grant(old, now=9.9, until=10.4)
    assert grants.forbids(released=old, now=9.9)
    assert grants.until == 10.0

    world = leased(5)
    world.isolate(5)
    old = world.core(1).status().ballot
    world.now += LEASE_S
    late = Heartbeat(old, world.core(1).status().decided_end, 1_000, world.clock(1))
    newer = Heartbeat(Ballot(old.round + 1, NodeId(2)), Slot(0), 1, world.clock(2))
    for sender, heartbeat in ((2, newer), (1, late)):
        world.wires.clear()
        world.call(NodeId(4), lambda core, s=sender, h=heartbeat: core.receive(NodeId(s), h, world.clock(4)))  # type: ignore[misc]
        (reply,) = [wire.message for wire in world.wires if isinstance(wire.message, HeartbeatReply)]
        assert reply.lease_s == (LEASE_S if sender == 2 else 0.0)
    world.wires.clear()
    world.call(NodeId(4), lambda core: core.receive(NodeId(1), Transfer(old), world.clock(4)))
    world.persist(NodeId(4))
    assert not any(isinstance(wire.message, Prepare) for wire in world.wires)
