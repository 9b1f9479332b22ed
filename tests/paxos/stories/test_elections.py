"""Who leads, how it comes to that, and how it ends."""

import pytest

from kvstore.paxos.effects import Role
from kvstore.paxos.errors import NotLeader
from kvstore.paxos.messages import (
    Accept,
    AcceptedEntry,
    CatchUp,
    Envelope,
    Heartbeat,
    Nack,
    Prepare,
    Promise,
    Suspect,
    SuspectReply,
)
from kvstore.paxos.types import ZERO_BALLOT
from tests.paxos.bench import Bench, app, ballot, node, slot, to_all
from tests.paxos.world import TIMEOUT_S, World, cluster

# Elections


def test_a_cluster_that_starts_together_has_a_leader_within_a_heartbeat_or_three() -> None:
    world = World((1, 2, 3))
    assert world.run_until(lambda: bool(world.leaders()), within_s=1.0) < 0.4


@pytest.mark.parametrize("seed", range(10))
def test_a_node_that_returns_does_not_depose_a_healthy_leader(seed: int) -> None:
    """It missed heartbeats for long and suspects; the others hear the leader and say so. No round is raised."""
    world = cluster(seed=seed)
    before = world.core(1).status().ballot
    world.isolate(3)
    world.run(10.0)
    assert world.core(3).status().leader is None
    world.heal()
    world.run(3.0)
    assert world.leaders() == [1]
    assert [world.core(n).status().ballot for n in (1, 2, 3)] == [before] * 3


def test_a_node_that_restarts_does_not_depose_a_healthy_leader() -> None:
    world = cluster()
    before = world.core(1).status().ballot
    world.crash(node(3))
    world.run(0.5)
    world.restart(node(3))
    world.run(3.0)
    assert world.core(3).status().leader == 1
    assert world.core(1).status().ballot == before


@pytest.mark.parametrize("seed", range(20))
def test_without_a_leader_the_others_take_over_after_an_election_timeout_or_two(seed: int) -> None:
    world = cluster(seed=seed)
    world.crash(node(1))
    took_s = world.run_until(lambda: bool(world.leaders()), within_s=4 * TIMEOUT_S)
    assert took_s >= TIMEOUT_S * 0.9


@pytest.mark.parametrize("seed", range(20))
def test_a_lost_link_speeds_it_up(seed: int) -> None:
    """The connection to the leader broke at all followers: they need not wait for silence."""
    world = cluster(seed=seed)
    world.crash(node(1))
    world.link_lost(2, 1)
    world.link_lost(3, 1)
    assert world.run_until(lambda: bool(world.leaders()), within_s=4 * TIMEOUT_S) < TIMEOUT_S


def test_a_lost_link_of_one_follower_deposes_nobody() -> None:
    world = cluster()
    world.link_lost(2, 1)
    world.run(2.0)
    assert world.leaders() == [1]
    assert world.core(1).status().ballot.round == 1


def test_a_lost_link_to_anyone_but_the_leader_means_nothing() -> None:
    follower = Bench(2)
    follower.say(1, Heartbeat(ballot(1, 1), slot(0), 1, 0.0))
    before = follower.core.next_deadline()
    follower.core.link_lost(node(3), 0.0)
    assert follower.core.next_deadline() == before
    follower.core.link_lost(node(1), 0.0)
    after = follower.core.next_deadline()
    assert after is not None
    assert after <= 0.1


def test_a_leader_that_hears_no_quorum_steps_down_after_one_election_timeout() -> None:
    world = cluster()
    world.isolate(1)
    took_s = world.run_until(lambda: 1 not in world.leaders(), within_s=TIMEOUT_S + 0.2)
    assert took_s >= TIMEOUT_S - 0.15
    with pytest.raises(NotLeader):
        world.propose(1, b"into the void")
    world.keep_history = True
    world.run(5.0)
    sent = [envelope.message for effects in world.nodes[node(1)].history for envelope in effects.messages]
    assert sent, "it asks whether the others hear a leader"
    assert {type(message) for message in sent} <= {Suspect, CatchUp}, "and beats no more"


def test_a_leader_of_five_keeps_going_with_two_followers() -> None:
    world = cluster(size=5)
    world.isolate(4)
    world.isolate(5)
    world.run(5.0)
    assert world.core(1).status().role is Role.LEADER


def test_a_suspicion_is_answered_from_memory_and_grants_nothing() -> None:
    follower = Bench(2, promised=ballot(3, 1), decided_end=4)
    effects = follower.say(3, Suspect(7))
    assert effects.messages == (Envelope(node(3), SuspectReply(7, False, ballot(3, 1), slot(4))),)
    assert effects.write is None
    follower.say(1, Heartbeat(ballot(3, 1), slot(4), 1, 0.0))
    assert follower.say(3, Suspect(8)).messages == (Envelope(node(3), SuspectReply(8, True, ballot(3, 1), slot(4))),)


def test_only_a_quorum_of_doubters_raises_a_round_and_only_for_the_running_suspicion() -> None:
    candidate = Bench(1, (1, 2, 3, 4, 5))
    (first, *_) = [e.message for e in candidate.tick().messages]
    assert first == Suspect(1)
    candidate.tick()
    doubt = SuspectReply(2, False, ballot(6, 4), slot(0))
    assert candidate.say(2, SuspectReply(1, False, ZERO_BALLOT, slot(0))).write is None, "of the first suspicion"
    assert candidate.say(2, SuspectReply(2, True, ZERO_BALLOT, slot(0))).write is None, "hears a leader"
    assert candidate.say(3, doubt).write is None, "two of five"
    assert candidate.say(3, doubt).write is None, "twice the same"
    assert candidate.say(4, doubt).write is not None
    assert candidate.core.status().ballot == ballot(7, 1), "above what the doubters have promised"


@pytest.mark.parametrize("seed", range(20))
def test_two_candidates_duel_and_one_wins(seed: int) -> None:
    """All of them stand at once, in one round; the highest node's ballot nacks the others."""
    world = World((1, 2, 3), seed=seed)
    world.pass_time(0.3)
    for node_id in (1, 2, 3):
        world.tick(node_id)
    world.flush()
    world.run_until(lambda: len(world.leaders()) == 1, within_s=4 * TIMEOUT_S)
    winner = world.leader()
    world.run(3.0)
    assert world.leaders() == [winner]


def test_a_nack_ends_a_candidacy_and_the_next_try_outranks_it() -> None:
    candidate = Bench(1)
    at = candidate.stand()
    effects = candidate.say(2, Nack(ballot(8, 3)))
    assert effects.messages == ()
    assert effects.leadership is not None
    assert effects.leadership.role is Role.FOLLOWER
    candidate.say(2, Promise(at, slot(0), (), None, slot(0), slot(0)))
    assert candidate.core.status().role is Role.FOLLOWER, "a promise for an abandoned ballot leads nowhere"
    assert candidate.stand() == ballot(9, 1)


def test_a_nack_that_is_older_than_the_ballot_means_nothing() -> None:
    leader = Bench(1, promised=ballot(4, 2))
    at = leader.lead()
    assert at == ballot(5, 1)
    leader.say(2, Nack(ballot(4, 3)))
    assert leader.core.status().role is Role.LEADER


def test_prepares_that_went_unanswered_are_sent_again() -> None:
    candidate = Bench(1, (1, 2, 3, 4, 5))
    at = candidate.stand()
    candidate.say(2, Promise(at, slot(0), (), None, slot(0), slot(0)))
    effects = candidate.tick(after_s=candidate.core._config.resend_s)
    assert effects.messages == to_all((node(3), node(4), node(5)), Prepare(at, slot(0)))


def test_a_leader_beats_at_once_and_then_at_its_interval() -> None:
    leader = Bench(1)
    at = leader.stand()
    effects = leader.say(2, Promise(at, slot(0), (), None, slot(0), slot(0)))
    assert effects.messages == to_all(leader.others, Heartbeat(at, slot(0), 1, leader.now))
    assert leader.core.next_deadline() == leader.now + 0.1
    assert leader.tick().messages == to_all(leader.others, Heartbeat(at, slot(0), 2, leader.now))


def test_leadership_is_reported_once_per_change() -> None:
    follower = Bench(2)
    change = follower.say(1, Heartbeat(ballot(1, 1), slot(0), 1, 0.0)).leadership
    assert change is not None
    assert (change.leader, change.ballot, change.role) == (1, ballot(1, 1), Role.FOLLOWER)
    assert follower.say(1, Heartbeat(ballot(1, 1), slot(0), 2, 0.0)).leadership is None


# Promises in pages


def test_a_promise_too_large_for_one_message_comes_in_pages() -> None:
    """Ten slots at two a page: the candidate asks page by page and leads only with the last one."""
    world = World((1, 2, 3), page_entries_max=2, inflight_slots_max=16)
    world.elect(1)
    world.isolate(3)
    for number in range(10):
        world.propose(1, b"%d" % number)
    while any(isinstance(w.message, Accept) for w in world.wires):
        world.deliver()
    world.persist(node(2))
    world.crash(node(1))
    world.wires.clear()
    world.heal()
    world.keep_history = True
    world.run_until(lambda: bool(world.leaders()), within_s=4.0)
    pages = [e.message for h in world.nodes[node(2)].history for e in h.messages if isinstance(e.message, Promise)]
    asked = [e.message for h in world.nodes[node(3)].history for e in h.messages if isinstance(e.message, Prepare)]
    assert world.leader() == 2 or ([p.next_slot for p in pages] == [2, 4, 6, 8, None] and len(asked) >= 5)
    world.run(0.5)
    assert world.log(2)[:10] == world.log(3)[:10] == [app(str(n)) for n in range(10)]


def test_a_partial_promise_is_none() -> None:
    candidate = Bench(1)
    at = candidate.stand()
    entry = AcceptedEntry(slot(0), ZERO_BALLOT, app("a"))
    effects = candidate.say(2, Promise(at, slot(0), (entry,), slot(1), slot(0), slot(0)))
    assert candidate.core.status().role is Role.CANDIDATE
    assert effects.messages == (Envelope(node(2), Prepare(at, slot(1))),)
    candidate.say(2, Promise(at, slot(1), (), None, slot(0), slot(0)))
    assert candidate.core.status().role is Role.LEADER
