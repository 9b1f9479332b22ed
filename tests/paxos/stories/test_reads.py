"""Linearizable reads: when a leader may answer, and from which slot on (L7)."""

import pytest

from kvstore.paxos.effects import ReadFailed, ReadReady
from kvstore.paxos.errors import NotLeader
from kvstore.paxos.messages import AcceptedEntry, Heartbeat, HeartbeatReply, Prepare, Promise
from tests.paxos.bench import Bench, app, ballot, confirm, heartbeats, slot


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
