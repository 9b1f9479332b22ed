"""Reads by a lease: nobody is asked, and still none is stale (L7, L14). The judge of the world decides what is stale.

In most stories the leader is cut off while its lease runs, the others hurry to elect another one, which decides a
write; a read that arrives at the old leader after that must not be answered. Time is told by each node's own clock.
"""

import pytest

from kvstore.paxos.durable import AcceptedValue, DurableState, GoverningConfiguration
from kvstore.paxos.effects import Role
from kvstore.paxos.gate import Gate
from kvstore.paxos.leadership import Leadership
from kvstore.paxos.lease import LeaseGrants
from kvstore.paxos.messages import (
    Accept,
    Accepted,
    Heartbeat,
    HeartbeatReply,
    Message,
    Nack,
    Prepare,
    Promise,
    Transfer,
)
from kvstore.paxos.types import ZERO_BALLOT, Application, Ballot, Configuration, NodeId, Slot

from .judge import InFlight
from .world import World

LEASE_S = 0.5
DRIFT = 0.1
"""The default of PaxosConfig."""


def leased(voters: int = 3, *, lease_s: float = LEASE_S, **settings: object) -> World:
    """Node 1 leads, by a lease of everyone, granted at ``world.now``."""
    world = World(range(1, voters + 1), lease_ms=round(lease_s * 1000), **settings)  # type: ignore[arg-type]
    world.run(lease_s * 1.2)  # until nobody holds back for its restart
    world.run_until(lambda: world.leaders() != [], within_s=5.0)
    if world.leader() != 1:
        world.transfer(world.leader(), 1)
        world.run_until(lambda: world.leaders() == [NodeId(1)], within_s=5.0)
    world.run(0.3)
    beat(world)
    return world


def leadership(world: World, node_id: int) -> Leadership:
    found = world.core(node_id)._proposer._leadership
    assert found is not None
    return found


def beat(world: World) -> None:
    """The leader's next heartbeat goes out and is answered: leases are as fresh as they can be."""
    deadline = leadership(world, 1).heartbeat_at
    world.now = max(world.now, world.time_at(1, deadline) + 1e-9)
    world.tick(1)
    world.flush()


def is_answered(world: World, node_id: int) -> bool:
    """Whether a read that begins now is answered without a message from anybody; the judge says if it is stale."""
    sent = len(world.wires)
    read_id = world.read(node_id)
    answered = read_id in world.nodes[NodeId(node_id)].reads_ready
    assert answered == (len(world.wires) == sent), "it asks exactly where it may not answer"
    return answered


def hurry(world: World, *nodes: int) -> None:
    """They hear that the leader's connection broke, and doubt it."""
    for node_id in nodes:
        world.link_lost(node_id, 1)


def run_until_another_writes(world: World, *, within_s: float = 0.95) -> float:
    """Until another node leads and has decided a write; the old leader still believes in itself. Returns the time."""
    begun = world.now
    while not (others := [n for n in world.leaders() if n != 1 and world.core(n).window_free]):
        assert world.now - begun < within_s, "nobody was elected"
        world.run(0.001, step_s=0.001)
    (other,) = others
    world.propose(other, b"elsewhere")
    world.flush()
    assert Application(b"elsewhere") in world.decided.values()
    assert world.core(1).status().role is Role.LEADER, "it has not noticed"
    return world.now - begun


# What leases are for


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


# Nobody is elected while a lease runs


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


# Restarts


@pytest.mark.parametrize("after", [0.0, 0.2])
def test_a_restarted_acceptor_hears_nobody_for_a_whole_lease(after: float) -> None:
    """Nodes 1 and 2 are the quorum of the lease; 2 forgets in a crash that it granted one, and 3 is in a hurry."""
    world = leased()
    world.block(1, 3)
    world.run(1.5)
    beat(world)
    world.now += after
    world.isolate(1)
    world.crash(NodeId(2))
    world.restart(NodeId(2))
    begun = world.now
    hurry(world, 3)
    while world.now - begun < LEASE_S - 0.002:
        world.run(0.002, step_s=0.001)
        assert world.leaders() == [NodeId(1)]
    run_until_another_writes(world, within_s=2.0 if not after else 0.95)
    assert not is_answered(world, 1)


def test_a_grant_after_a_restart_does_not_end_the_holding_back() -> None:
    """What was granted before is nobody's to release: it is not known whose it was."""
    grants = LeaseGrants(Gate(durable_promise=ZERO_BALLOT), restarted_until=10.0)
    assert grants.forbids(released=None, now=9.9)
    assert grants.grant(Ballot(3, NodeId(1)), now=9.0, until=9.5)
    assert grants.forbids(released=Ballot(3, NodeId(1)), now=9.9)
    assert grants.until == 10.0
    assert not grants.forbids(released=None, now=10.0)


def test_without_leases_a_restarted_node_holds_nothing_back() -> None:
    world = leased(lease_s=0.0)
    world.crash(NodeId(2))
    world.restart(NodeId(2))
    assert not world.core(2)._lease_grants.forbids(released=None, now=world.clock(2))


def test_a_restarted_node_holds_back_for_the_longest_lease_that_it_may_have_granted() -> None:
    """In the state are the configurations of its slots; a later one is in the log, decided or not."""
    first = Configuration(1, (NodeId(1),), lease_ms=200)
    second = Configuration(2, (NodeId(1),), lease_ms=700)
    in_state = (GoverningConfiguration(Slot(0), first),)
    accepted = {
        Slot(4): AcceptedValue(Ballot(1, NodeId(1)), second),
        Slot(5): AcceptedValue(Ballot(1, NodeId(1)), Application(b"x")),
    }
    assert DurableState(configurations=in_state).lease_s == 0.2
    assert DurableState(configurations=in_state, accepted=accepted).lease_s == 0.7


# Handing over


def test_a_hand_over_does_not_wait_for_the_lease() -> None:
    """Time stands still; the successor's Prepare names the ballot that gave its lease up."""
    world = leased()
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


def test_a_leader_may_ask_new_voters_for_their_promise_though_they_granted_it_a_lease() -> None:
    """A learner that follows it grants as well. Once it votes, the leader's phase 1 needs its promise: the lease that
    forbids other candidates must not forbid that, or no slot is ever decided again.
    """
    world = leased(learners=(4,))
    leader = world.core(1).status()
    learner = world.core(4)
    assert learner.status().promised < leader.ballot
    assert learner._lease_grants.until > world.clock(4)
    world.wires.clear()
    prepare = Prepare(leader.ballot, leader.decided_end)
    world.call(NodeId(4), lambda core: core.receive(NodeId(1), prepare, world.clock(4)))
    world.persist(NodeId(4))
    (promise,) = [wire.message for wire in world.wires]
    assert isinstance(promise, Promise)
    assert promise.ballot == leader.ballot


# Where voters have come and gone, another leader may have been elected by others


def heard_by_two(world: World, message: Message) -> list[Message]:
    """What node 2 answers to node 3, once its disk has it."""
    world.wires.clear()
    world.call(NodeId(2), lambda core: core.receive(NodeId(3), message, world.clock(2)))
    world.persist(NodeId(2))
    return [wire.message for wire in world.wires]


def test_a_newer_leader_is_granted_no_lease_while_an_older_one_has_it() -> None:
    world = leased()
    newer = Ballot(world.core(1).status().ballot.round + 1, NodeId(3))
    assert heard_by_two(world, Heartbeat(newer, Slot(0), 1, 0.0)) == [HeartbeatReply(newer, 1, 0.0, Slot(0), 0.0)]
    assert heard_by_two(world, Prepare(newer, Slot(0))) == [], "and nothing is promised to it either"
    world.now += LEASE_S
    assert heard_by_two(world, Heartbeat(newer, Slot(0), 2, 0.0)) == [HeartbeatReply(newer, 2, 0.0, Slot(0), LEASE_S)]
    assert [type(answer) for answer in heard_by_two(world, Prepare(newer, Slot(0)))] == [Promise]


def test_who_is_bound_by_an_accept_answers_no_prepare_before_the_lease_has_ended() -> None:
    """An Accept speaks for one slot, whose voters have promised; a Prepare asks for all of them."""
    world = leased()
    newer = Ballot(world.core(1).status().ballot.round + 1, NodeId(3))
    accept = Accept(newer, Slot(0), Application(b"theirs"), Slot(0))
    assert heard_by_two(world, accept) == [Accepted(newer, Slot(0), Slot(1))]
    assert world.core(2).status().promised == newer
    assert heard_by_two(world, Prepare(newer, Slot(0))) == []
    world.now += LEASE_S
    assert [type(answer) for answer in heard_by_two(world, Prepare(newer, Slot(0)))] == [Promise]


def test_a_leader_that_former_voters_elected_waits_for_the_lease_of_the_new_ones() -> None:
    """1, 4 and 5 vote by now, and node 1 leads by their lease. Nodes 2 and 3, which do not know that this is decided,
    elect one of themselves; what it finds sends it to 4 and 5, who have just lost sight of node 1.
    """
    world = leased(spare=(4, 5), alpha=2, inflight_slots_max=2)
    world.isolate(3)
    world.propose_configuration(1, Configuration(2, (NodeId(1), NodeId(4), NodeId(5)), lease_ms=round(LEASE_S * 1000)))
    world.propose(1, b"the last that 2 accepts")
    world.flush()
    world.isolate(2)
    world.blocked -= {(NodeId(2), NodeId(3)), (NodeId(3), NodeId(2))}
    world.run_until(lambda: len(world.leaders()) == 2, within_s=5.0)
    beat(world)
    world.heal()
    world.isolate(1)
    assert run_until_another_writes(world) >= LEASE_S * (1 - DRIFT)
    assert not is_answered(world, 1)


# Leases of another length


def switch(world: World, lease_ms: int) -> None:
    """Decides a configuration that differs in its lease."""
    voters = world.first.voters
    world.propose_configuration(1, Configuration(2, voters, lease_ms=lease_ms))
    world.flush()


def test_a_leader_that_decides_to_do_without_leases_does_so_at_once() -> None:
    """An acceptor that restarts knows the newest configuration's lease only, and holds back no longer than that."""
    world = leased()
    assert is_answered(world, 1)
    switch(world, 0)
    assert not is_answered(world, 1)
    beat(world)
    assert not is_answered(world, 1)


def test_a_grant_that_knew_only_the_former_lease_counts_for_no_more_than_the_new_one() -> None:
    """The reply was under way while the leader decided to do without leases."""
    world = leased()
    ballot = world.core(1).status().ballot
    switch(world, 0)
    late = HeartbeatReply(ballot, 1, world.clock(1), Slot(0), LEASE_S)
    for follower in (2, 3):
        world.call(NodeId(1), lambda core, f=follower: core.receive(NodeId(f), late, world.clock(1)))  # type: ignore[misc]
    assert not is_answered(world, 1)


def test_a_longer_lease_is_granted_once_its_configuration_alone_governs() -> None:
    """α slots later, that is; until then the shorter one of both."""
    world = leased(alpha=4, inflight_slots_max=4)
    switch(world, 2000)
    beat(world)
    granted = leadership(world, 1)._leases[NodeId(2)] - world.clock(1)
    assert granted == pytest.approx(LEASE_S * (1 - DRIFT), abs=0.01)
    for number in range(6):
        world.propose(1, b"%d" % number)
        world.flush()
    beat(world)
    beat(world)
    granted = leadership(world, 1)._leases[NodeId(2)] - world.clock(1)
    assert granted == pytest.approx(2.0 * (1 - DRIFT), abs=0.11)


def test_no_lease_is_granted_that_a_restart_would_not_know_of() -> None:
    """The follower has decided the configuration, and its disk has not yet: its heartbeat replies grant nothing."""
    world = leased(alpha=1, inflight_slots_max=1)
    lagging = NodeId(3)
    world.propose_configuration(1, Configuration(2, world.first.voters, lease_ms=2000))
    while world.wires or world.persist_everywhere(among=[NodeId(1), NodeId(2)]):
        if world.wires:
            world.deliver(0)
    world.propose(1, b"after it")
    while world.wires or world.persist_everywhere(among=[NodeId(1), NodeId(2)]):
        if world.wires:
            world.deliver(0)
    world.now = world.time_at(1, leadership(world, 1).heartbeat_at) + 1e-9
    world.tick(1)
    world.wires = [wire for wire in world.wires if wire.to == lagging]
    while world.wires and world.wires[0].to == lagging:
        world.deliver(0)
    assert world.core(3).status().decided_end == 2
    (reply,) = [wire.message for wire in world.wires if isinstance(wire.message, HeartbeatReply)]
    assert reply.lease_s == 0.0
    world.flush()
    beat(world)
    assert leadership(world, 1)._leases[lagging] > world.clock(1) + 1.0
