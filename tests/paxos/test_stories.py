"""Elections, pipelining, reads, hand-overs, catching up and changes of membership, told step by step."""

import pytest

from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.durable import AcceptedValue, AcceptRecord, GoverningConfiguration, LearnRecord
from kvstore.paxos.effects import DecidedValue, Fate, LogRead, ProposalLost, ReadFailed, ReadReady, Role
from kvstore.paxos.errors import NotLeader, WindowFull
from kvstore.paxos.messages import (
    Accept,
    Accepted,
    AcceptedEntry,
    CatchUp,
    Decided,
    Envelope,
    Heartbeat,
    HeartbeatReply,
    Nack,
    Prepare,
    Promise,
    SnapshotOffer,
    Suspect,
    SuspectReply,
    Transfer,
)
from kvstore.paxos.types import ZERO_BALLOT, Application, Noop

from .bench import Bench, app, ballot, config_of, node, slot, to_all
from .world import World

TIMEOUT_S = 1.0


def cluster(*, size: int = 3, seed: int = 0, leader: int = 1, **settings: float) -> World:
    world = World(range(1, size + 1), seed=seed, **settings)
    world.elect(leader)
    world.run(0.3)
    return world


def heartbeats(bench: Bench) -> list[Heartbeat]:
    return [e.message for e in bench.tick().messages if isinstance(e.message, Heartbeat)]


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


# Pipelining and durability


def test_slots_are_in_flight_up_to_the_window_and_no_further() -> None:
    leader = Bench(1, inflight_slots_max=3)
    at = leader.lead()
    for text in "abc":
        leader.propose(text)
    assert leader.core.window_free == 0
    with pytest.raises(WindowFull):
        leader.core.propose(b"d", leader.now)
    assert leader.drain().messages == (), "nothing was proposed"
    leader.accepted_by(2, at, 0)
    leader.accepted_by(3, at, 0)
    assert leader.core.window_free == 1
    assert leader.propose("d").messages[0] == Envelope(node(2), Accept(at, slot(3), app("d"), slot(1)))


def test_the_leaders_own_acceptance_counts_only_once_it_is_durable() -> None:
    """L2: with one follower's answer, the slot is decided when the leader's own disk has it, and not before."""
    leader = Bench(1)
    at = leader.lead()
    effects = leader.propose("v")
    assert effects.write is not None
    assert effects.write.records == (AcceptRecord(slot(0), at, app("v")),)
    assert effects.messages == to_all(leader.others, Accept(at, slot(0), app("v"), slot(0))), "Accept leaves at once"
    assert leader.accepted_by(2, at, 0).decided == ()
    assert [d.slot for d in leader.sync().decided] == [0]


def test_followers_can_decide_before_the_leaders_own_disk() -> None:
    leader = Bench(1)
    at = leader.lead()
    leader.propose("v")
    leader.accepted_by(2, at, 0)
    (decided,) = leader.accepted_by(3, at, 0).decided
    assert decided.value == app("v")
    assert leader.sync().decided == (), "once only"


def test_a_follower_counts_all_slots_of_a_turn_in_one_write_and_one_answer() -> None:
    follower = Bench(2)
    for number in range(3):
        follower.core.receive(node(1), Accept(ballot(1, 1), slot(number), app(str(number)), slot(0)), 0.0)
    effects = follower.drain()
    assert effects.write is not None
    assert len(effects.write.records) == 4, "a promise and three accepts"
    assert effects.messages == ()
    assert follower.sync().messages == (Envelope(node(1), Accepted(ballot(1, 1), slot(0), slot(3))),)


def test_an_accept_that_was_lost_is_sent_again_to_those_who_lack_it() -> None:
    leader = Bench(1, (1, 2, 3, 4, 5))
    at = leader.lead()
    leader.propose("v")
    leader.accepted_by(2, at, 0)
    effects = leader.tick(after_s=0.31)
    resent = [e for e in effects.messages if isinstance(e.message, Accept)]
    assert resent == list(to_all((node(3), node(4), node(5)), Accept(at, slot(0), app("v"), slot(0))))


def test_an_accepted_of_another_ballot_counts_for_nothing() -> None:
    leader = Bench(1, promised=ballot(1, 1))
    at = leader.lead()
    leader.propose("v")
    leader.accepted_by(2, ballot(1, 1), 0)
    assert leader.accepted_by(3, ballot(1, 1), 0).decided == ()
    leader.accepted_by(2, at, 0)
    assert len(leader.accepted_by(3, at, 0).decided) == 1


def test_a_follower_takes_decided_end_only_for_what_it_accepted_at_that_ballot() -> None:
    """L5: in slot 0 it accepted something at a lower ballot, which may have lost; it asks instead."""
    accepted = {0: AcceptedValue(ballot(1, 3), app("old")), 1: AcceptedValue(ballot(2, 1), app("new"))}
    follower = Bench(2, promised=ballot(2, 1), accepted=accepted)
    effects = follower.say(1, Heartbeat(ballot(2, 1), slot(2), 1, 0.0))
    assert effects.decided == ()
    assert effects.messages == (
        Envelope(node(1), HeartbeatReply(ballot(2, 1), 1, 0.0, slot(0))),
        Envelope(node(1), CatchUp(slot(0))),
    )


def test_news_of_a_decided_slot_does_not_wait_for_the_next_heartbeat() -> None:
    leader = Bench(1)
    at = leader.lead()
    heartbeats(leader)
    leader.propose("v")
    leader.accepted_by(2, at, 0)
    leader.accepted_by(3, at, 0)
    deadline = leader.core.next_deadline()
    assert deadline == leader.now + PaxosConfig(node_id=node(1)).announce_delay_s
    (beat, _) = heartbeats(leader)
    assert beat.decided_end == 1


def test_who_waits_for_the_news_can_have_it_at_once() -> None:
    leader = Bench(1)
    at = leader.lead()
    leader.propose("v")
    leader.accepted_by(2, at, 0)
    leader.accepted_by(3, at, 0)
    leader.core.announce_decided(leader.now)
    assert {type(e.message) for e in leader.drain().messages} == {Heartbeat}
    leader.core.announce_decided(leader.now)
    assert leader.drain().messages == (), "there is no more news"


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


# Reads


def confirm(leader: Bench) -> tuple[int, Heartbeat]:
    read_id = leader.core.confirm_leadership(leader.now)
    (beat, *_) = [e.message for e in leader.drain().messages if isinstance(e.message, Heartbeat)]
    return read_id, beat


def test_a_read_needs_a_round_begun_after_it_arrived() -> None:
    """L7: the answer to a heartbeat that was under way already does not confirm it."""
    leader = Bench(1)
    leader.lead()
    (before, *_) = heartbeats(leader)
    read_id, beat = confirm(leader)
    assert beat.read_round == before.read_round + 1
    assert leader.hear_back(2, before).reads_ready == ()
    assert leader.hear_back(2, beat).reads_ready == (ReadReady(read_id, slot(0)),)
    assert leader.hear_back(3, beat).reads_ready == (), "once only"


def test_one_round_serves_all_reads_that_wait() -> None:
    leader = Bench(1)
    leader.lead()
    heartbeats(leader)
    reads = [leader.core.confirm_leadership(leader.now) for _ in range(5)]
    beats = [e.message for e in leader.drain().messages]
    assert len(beats) == 2
    (beat, _) = beats
    assert isinstance(beat, Heartbeat)
    assert [r.read_id for r in leader.hear_back(3, beat).reads_ready] == reads


def test_a_read_needs_a_quorum() -> None:
    leader = Bench(1, (1, 2, 3, 4, 5))
    leader.lead()
    read_id, beat = confirm(leader)
    assert leader.hear_back(2, beat).reads_ready == ()
    assert leader.hear_back(2, beat).reads_ready == (), "twice the same node"
    assert leader.hear_back(3, beat).reads_ready == (ReadReady(read_id, slot(0)),)


def test_an_answer_from_another_ballot_confirms_nothing() -> None:
    leader = Bench(1, promised=ballot(1, 1))
    leader.lead()
    _, beat = confirm(leader)
    assert leader.say(2, HeartbeatReply(ballot(1, 1), beat.read_round, 0.0, slot(0))).reads_ready == ()


def test_reads_fail_with_the_leadership() -> None:
    leader = Bench(1)
    leader.lead()
    read_id, beat = confirm(leader)
    effects = leader.say(3, Prepare(ballot(9, 3), slot(0)))
    assert effects.reads_failed == (ReadFailed(read_id),)
    assert leader.hear_back(2, beat).reads_ready == ()


def test_who_does_not_lead_confirms_nothing_and_says_who_might() -> None:
    follower = Bench(2)
    with pytest.raises(NotLeader) as nobody:
        follower.core.confirm_leadership(0.0)
    assert nobody.value.hint is None
    follower.say(1, Heartbeat(ballot(1, 1), slot(0), 1, 0.0))
    with pytest.raises(NotLeader) as somebody:
        follower.core.confirm_leadership(0.0)
    assert somebody.value.hint == 1


def test_a_new_leaders_reads_wait_for_the_slots_of_its_phase_1() -> None:
    """A classic trap: what its predecessor acknowledged may be among the slots that it has found but not decided."""
    leader = Bench(1, promised=ballot(1, 3))
    at = leader.stand()
    found = (AcceptedEntry(slot(0), ballot(1, 3), app("a")), AcceptedEntry(slot(1), ballot(1, 3), app("b")))
    leader.say(2, Promise(at, slot(0), found, None, slot(0), slot(0)))
    read_id, beat = confirm(leader)
    assert leader.hear_back(2, beat).reads_ready == ()
    leader.accepted_by(2, at, 0, 2)
    effects = leader.accepted_by(3, at, 0, 2)
    assert [d.value for d in effects.decided] == [app("a"), app("b")]
    assert effects.reads_ready == (ReadReady(read_id, slot(2)),)


def test_a_single_node_confirms_itself() -> None:
    alone = Bench(1, (1,))
    alone.tick()
    alone.sync()
    read_id = alone.core.confirm_leadership(alone.now)
    assert alone.drain().reads_ready == (ReadReady(read_id, slot(0)),)


# Handing over


def test_a_transfer_finishes_what_is_in_flight_and_proposes_nothing_more() -> None:
    leader = Bench(1)
    at = leader.lead()
    leader.propose("v")
    leader.core.transfer(node(2), leader.now)
    with pytest.raises(NotLeader) as refused:
        leader.core.propose(b"w", leader.now)
    assert refused.value.hint == 2
    assert not [e for e in leader.drain().messages if isinstance(e.message, Transfer)]
    leader.accepted_by(3, at, 0)
    effects = leader.accepted_by(2, at, 0)
    assert Envelope(node(2), Transfer(at)) in effects.messages


@pytest.mark.parametrize("target", [2, 3])
def test_a_transfer_takes_no_election_timeout(target: int) -> None:
    world = cluster()
    world.transfer(1, target)
    world.flush()
    assert world.leaders() == [target]
    world.propose(target, b"v")
    world.run(0.2)
    assert all(world.log(n) == [app("v")] for n in (1, 2, 3))


def test_a_transfer_that_gets_lost_ends_the_leadership_after_an_election_timeout() -> None:
    """It promised to propose nothing more; somebody has to."""
    world = cluster()
    world.block(1, 3)
    world.transfer(1, 3)
    world.run_until(lambda: world.core(1).status().role is Role.FOLLOWER, within_s=TIMEOUT_S + 0.1)
    world.heal()
    world.run_until(lambda: any(world.core(n).window_free for n in world.leaders()), within_s=4.0)


def test_a_transfer_from_a_deposed_leader_is_ignored() -> None:
    follower = Bench(2, promised=ballot(5, 3))
    assert follower.say(1, Transfer(ballot(4, 1))).write is None
    assert follower.core.status().role is Role.FOLLOWER


def test_the_successor_is_a_live_voter() -> None:
    world = cluster()
    world.isolate(2)
    world.run(1.0 + 0.1)
    assert world.core(1).successor() == 3
    assert world.core(2).successor() is None


# Catching up


def missed(number: int, **settings: float) -> World:
    """Node 3 misses ``number`` slots; then its links are back."""
    world = cluster(**settings)
    world.isolate(3)
    for count in range(number):
        world.propose(1, b"%d" % count)
        world.run(0.02)
    world.heal()
    return world


def test_it_catches_up_from_the_cache() -> None:
    world = missed(20, page_entries_max=4)
    world.run(0.5)
    assert world.log(3) == world.log(1)
    assert world.nodes[node(1)].log_reads == []


def test_it_catches_up_from_the_log_where_the_cache_is_too_short() -> None:
    world = missed(40, cached_slots_max=8)
    world.run(0.5)
    assert world.log(3) == world.log(1)
    reads = world.nodes[node(1)].log_reads
    assert reads[0] == LogRead(node(3), slot(0), slot(40))
    learned = [r for r in world.nodes[node(3)].disk.records if isinstance(r, LearnRecord)]
    assert [r.slot for r in learned] == list(range(40)), "and keeps what it learned in its own log"


def test_it_catches_up_from_a_snapshot_where_the_log_is_cut() -> None:
    world = missed(40)
    for node_id in (1, 2):
        world.checkpoint(node(node_id))
        world.compact(node(node_id))
    world.run(0.5)
    assert world.core(3).status().first_slot == 40
    world.propose(1, b"after")
    world.run(0.5)
    assert world.log(3) == world.log(1)


def test_a_second_peer_answers_when_the_first_is_silent() -> None:
    world = missed(10)
    world.blocked.add((node(3), node(1)))  # its questions do not reach the leader, whose heartbeats do reach it
    world.run(1.5)
    assert world.log(3) == world.log(2)
    assert world.log(3) != []


def test_a_learner_follows_and_neither_votes_nor_stands() -> None:
    world = World((1, 2), learners=(3,))
    world.elect(1)
    world.propose(1, b"v")
    world.run(0.5)
    assert world.log(3) == [app("v")]
    world.isolate(1)
    world.isolate(2)
    world.run(5.0)
    assert world.core(3).status().role is Role.FOLLOWER
    assert world.core(3).status().promised == ballot(1, 1)


def test_questions_are_answered_with_what_there_is() -> None:
    """In memory: a page. In the log: for the shell to read. Cut: a snapshot. Unknown: nothing, and how far we are."""
    teacher = Bench(1, cached_slots_max=2, decided_end=3)
    entries = tuple(AcceptedEntry(slot(s), ballot(1, 2), app(str(s))) for s in range(3, 7))
    teacher.say(2, Decided(entries, slot(7)))
    teacher.core.compacted(first_slot=slot(2))
    assert teacher.say(3, CatchUp(slot(5))).messages == (Envelope(node(3), Decided(entries[2:], slot(7))),)
    assert teacher.say(3, CatchUp(slot(2))).log_reads == (LogRead(node(3), slot(2), slot(7)),)
    assert teacher.say(3, CatchUp(slot(1))).messages == (Envelope(node(3), SnapshotOffer(slot(2), slot(7))),)
    assert teacher.say(3, CatchUp(slot(7))).messages == (Envelope(node(3), Decided((), slot(7))),)


def test_learned_slots_beyond_a_gap_are_not_taken() -> None:
    """L6: no gaps."""
    pupil = Bench(1)
    beyond = AcceptedEntry(slot(1), ballot(1, 2), app("b"))
    assert pupil.say(2, Decided((beyond,), slot(2))).decided == ()
    both = (AcceptedEntry(slot(0), ballot(1, 2), app("a")), beyond)
    assert pupil.say(2, Decided(both, slot(2))).decided == (
        DecidedValue(slot(0), app("a"), None),
        DecidedValue(slot(1), app("b"), None),
    )


# What becomes of proposals


def test_a_proposal_that_the_next_leader_adopts_succeeds_for_who_proposed_it() -> None:
    """The old leader still knows whose it was."""
    old = Bench(1)
    at = old.lead()
    proposal_id = old.core.propose(b"v", old.now)
    old.drain()
    effects = old.say(2, Prepare(ballot(9, 2), slot(0)))
    assert effects.proposals_lost == (), "its fate is open"
    old.say(2, Accept(ballot(9, 2), slot(0), app("v"), slot(0)))
    effects = old.say(2, Heartbeat(ballot(9, 2), slot(1), 1, 0.0))
    assert effects.decided == (DecidedValue(slot(0), app("v"), proposal_id),)
    assert at < ballot(9, 2)


def test_a_proposal_whose_slot_another_value_took_is_provably_not_applied() -> None:
    old = Bench(1)
    old.lead()
    proposal_id = old.core.propose(b"v", old.now)
    old.drain()
    old.say(2, Prepare(ballot(9, 2), slot(0)))
    effects = old.say(2, Decided((AcceptedEntry(slot(0), ballot(9, 2), Noop()),), slot(1)))
    assert effects.proposals_lost == () or effects.decided == ()
    effects = old.sync()
    assert effects.decided == (DecidedValue(slot(0), Noop(), None),)
    assert effects.proposals_lost == (ProposalLost(proposal_id, Fate.NOT_APPLIED),)


def test_a_proposal_below_a_snapshot_has_an_unknown_fate() -> None:
    old = Bench(1)
    old.lead()
    proposal_id = old.core.propose(b"v", old.now)
    old.drain()
    configurations = (GoverningConfiguration(slot(0), config_of(1, 2, 3)),)
    old.core.installed(decided_end=slot(50), configurations=configurations, now=old.now)
    effects = old.drain()
    assert effects.proposals_lost == (ProposalLost(proposal_id, Fate.UNKNOWN),)
    assert effects.decided == ()
    assert old.core.status().role is Role.FOLLOWER
    assert old.core.status().decided_end == 50


def test_a_snapshot_that_is_older_than_the_state_changes_nothing() -> None:
    ahead = Bench(1, decided_end=60)
    before = ahead.core.status()
    configurations = (GoverningConfiguration(slot(0), config_of(1, 2, 3)),)
    ahead.core.installed(decided_end=slot(50), configurations=configurations, now=0.0)
    assert ahead.core.status() == before


# Changes of membership


def test_phase_1_needs_a_quorum_of_every_configuration_that_governs_an_undecided_slot() -> None:
    governing = (
        GoverningConfiguration(slot(0), config_of(1, 2, 3)),
        GoverningConfiguration(slot(20), config_of(1, 4, 5, epoch=2)),
    )
    candidate = Bench(1, (1, 2, 3, 4, 5), governing=governing, decided_end=10, promised=ballot(1, 1))
    candidate.tick()
    for doubter in (2, 3):
        assert candidate.say(doubter, SuspectReply(1, False, ZERO_BALLOT, slot(10))).write is None
    assert candidate.say(4, SuspectReply(1, False, ZERO_BALLOT, slot(10))).write is not None
    candidate.sync()
    at = candidate.core.status().ballot
    for promiser in (2, 3):
        candidate.say(promiser, Promise(at, slot(10), (), None, slot(10), slot(0)))
        assert candidate.core.status().role is Role.CANDIDATE
    candidate.say(4, Promise(at, slot(10), (), None, slot(10), slot(0)))
    assert candidate.core.status().role is Role.LEADER


def test_a_read_too_is_confirmed_by_every_configuration() -> None:
    governing = (
        GoverningConfiguration(slot(0), config_of(1, 2, 3)),
        GoverningConfiguration(slot(20), config_of(1, 4, 5, epoch=2)),
    )
    leader = Bench(1, (1, 2, 3, 4, 5), governing=governing, decided_end=10, promised=ballot(1, 1))
    leader.lead_at(10)
    read_id, beat = confirm(leader)
    for sender in (2, 3):
        assert leader.hear_back(sender, beat, decided_end=10).reads_ready == ()
    assert leader.hear_back(5, beat, decided_end=10).reads_ready == (ReadReady(read_id, slot(10)),)


def test_a_slot_is_chosen_by_the_configuration_that_governs_it() -> None:
    """α = 4: slot 3 still by 1, 2, 3; slot 4 by 1, 4, 5, once a quorum of those has promised as well."""
    leader = Bench(1, alpha=4, inflight_slots_max=4)
    at = leader.lead()
    leader.core.propose_configuration(config_of(1, 4, 5, epoch=2), leader.now)
    leader.drain()
    leader.sync()
    assert len(leader.accepted_by(2, at, 0).decided) == 1
    for text in "abc":
        leader.propose(text)
    with pytest.raises(WindowFull):
        leader.core.propose(b"too early", leader.now)
    leader.sync()
    asked = [e for e in leader.tick().messages if isinstance(e.message, Prepare)]
    assert asked == list(to_all((node(4), node(5)), Prepare(at, slot(0))))
    leader.say(4, Promise(at, slot(0), (), None, slot(0), slot(0)))
    leader.accepted_by(2, at, 1, 4)
    effects = leader.propose("d")
    assert {e.to for e in effects.messages if isinstance(e.message, Accept)} == {4, 5}
    leader.sync()
    assert leader.accepted_by(2, at, 4).decided == (), "2 has no vote any more"
    assert len(leader.accepted_by(4, at, 4).decided) == 1


def test_a_cluster_moves_to_new_nodes_under_load() -> None:
    """1, 2, 3 → 4, 5, 6 by one swap at a time; the old ones may then go."""
    world = World((1, 2, 3), spare=(4, 5, 6), alpha=8, inflight_slots_max=4)
    world.elect(1)
    voters = [1, 2, 3]
    count = 0

    def load(slots: int) -> None:
        nonlocal count
        for _ in range(slots):
            world.run_until(lambda: any(world.core(n).window_free for n in world.leaders()), within_s=4.0)
            world.propose(world.leader(), b"%d" % count)
            count += 1
            world.run(0.05)

    for epoch, (leaving, coming) in enumerate(((3, 4), (2, 5), (1, 6)), start=2):
        voters = sorted({*voters, coming} - {leaving})
        world.propose_configuration(world.leader(), config_of(*voters, epoch=epoch))
        load(10)
    for gone in (1, 2, 3):
        world.crash(node(gone))
    world.wires.clear()
    world.run_until(lambda: any(world.core(n).window_free for n in world.leaders()), within_s=4.0)
    load(3)
    assert world.leader() in {4, 5, 6}
    applied = [v.data for v in world.log(4) if isinstance(v, Application)]
    assert applied == [b"%d" % n for n in range(count)]


def test_the_limits_of_the_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="heartbeat"):
        PaxosConfig(node_id=node(1), heartbeat_s=1.0, election_timeout_s=1.0)
    with pytest.raises(ValueError, match="alpha"):
        PaxosConfig(node_id=node(1), alpha=4, inflight_slots_max=5)
