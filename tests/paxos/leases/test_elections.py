"""Nobody is elected while a lease runs, by whatever clock."""

import pytest

from kvstore.paxos.effects import Role
from kvstore.paxos.messages import Heartbeat, HeartbeatReply, Nack, Prepare, Promise
from kvstore.paxos.types import Ballot, NodeId, Slot
from tests.paxos.leases.leased import LEASE_S, beat, hurry, is_answered, leadership, leased, run_until_another_writes


def test_no_candidate_is_heard_before_the_lease_has_ended() -> None:
    """However much the others hurry. Then they elect at once, and the old leader answers nothing stale."""
    world = leased()
    world.isolate(1)
    hurry(world, 2, 3)
    took = run_until_another_writes(world)
    assert LEASE_S - 0.001 <= took < LEASE_S + 0.1
    assert not is_answered(world, 1)


@pytest.mark.parametrize(
    "rates", [{1: 0.95, 2: 1.05, 3: 1.05}, {1: 1.05, 2: 0.95, 3: 0.95}, {1: 0.95, 2: 0.95, 3: 1.05}]
)
def test_clocks_may_drift_within_the_bound(rates: dict[int, float]) -> None:
    """A slow leader and fast followers: by its own clock the lease would run longer than theirs."""
    world = leased(rates=rates)
    world.isolate(1)
    hurry(world, 2, 3)
    took = run_until_another_writes(world)
    assert took >= LEASE_S / 1.05 - 0.001
    assert not is_answered(world, 1)


def test_a_lease_counts_from_when_its_heartbeat_was_sent() -> None:
    """The answers are under way for most of its time: to count from their arrival would claim what nobody grants."""
    world = leased()
    world.run(0.05)
    sent = world.now
    world.now = world.time_at(1, leadership(world, 1).heartbeat_at) + 1e-9
    sent = world.now
    world.tick(1)
    for _ in range(2):
        world.deliver(next(i for i, w in enumerate(world.wires) if isinstance(w.message, Heartbeat)))
    late = [wire for wire in world.wires if isinstance(wire.message, HeartbeatReply)]
    world.wires.clear()
    world.isolate(1)
    hurry(world, 2, 3)
    world.run(0.4)
    for reply in late:
        world.call(NodeId(1), lambda core, r=reply: core.receive(r.sender, r.message, world.clock(1)))  # type: ignore[misc]
    run_until_another_writes(world)
    assert world.now - sent < LEASE_S + 0.2
    assert not is_answered(world, 1)


def test_who_granted_a_lease_does_not_stand_itself() -> None:
    """Nodes 1 and 2 are a quorum; 3, which granted nothing for long, would vote for 2 at any time."""
    world = leased()
    world.block(1, 3)
    world.run(LEASE_S + 0.2)
    beat(world)
    world.isolate(1)
    begun = world.now
    hurry(world, 2)
    while world.now - begun < LEASE_S - 0.002:
        world.run(0.002, step_s=0.001)
        assert world.core(2).status().role is Role.FOLLOWER
    run_until_another_writes(world)
    assert not is_answered(world, 1)


def test_a_refused_candidate_is_told_nothing_and_wins_once_the_lease_has_ended() -> None:
    """A Nack would only make it raise its round: it asks again by itself."""
    world = leased()
    promised = world.core(2).status().promised
    candidacy = Prepare(Ballot(promised.round + 5, NodeId(3)), Slot(0))
    world.wires.clear()
    world.call(NodeId(2), lambda core: core.receive(NodeId(3), candidacy, world.clock(2)))
    assert world.wires == []
    world.isolate(1)
    world.now += LEASE_S - 0.002
    world.call(NodeId(2), lambda core: core.receive(NodeId(3), candidacy, world.clock(2)))
    assert world.wires == []
    world.now += 0.004
    world.call(NodeId(2), lambda core: core.receive(NodeId(3), candidacy, world.clock(2)))
    world.persist(NodeId(2))
    assert [type(wire.message) for wire in world.wires] == [Promise]


def test_a_candidate_below_the_promise_is_told_so_all_the_same() -> None:
    world = leased()
    world.wires.clear()
    stale = Prepare(Ballot(0, NodeId(3)), Slot(0))
    world.call(NodeId(2), lambda core: core.receive(NodeId(3), stale, world.clock(2)))
    assert [type(wire.message) for wire in world.wires] == [Nack]
