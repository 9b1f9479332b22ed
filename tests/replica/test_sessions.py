"""Sessions of clients: attached to a node, answered by it, whole and once, and expired by the leader's clock (L12)."""

import pytest
from kvproto.command_pb2 import CommandBatch
from kvproto.etcd.rpc_pb2 import PutResponse

from kvstore.mvcc.results import Refusal
from kvstore.paxos.types import NodeId
from kvstore.replica.expiry import SessionExpiry
from kvstore.replica.messages import Forward
from kvstore.replica.steps import AnswerAll, SessionAnswers
from kvstore.replica.writes import Writes

from .cluster import Cluster, Member, of_session

# Attached


def submit(member: Member, session: int, *sequences: int, value: str = "") -> None:
    member.replica.submit(session, [of_session(session, n, f"s{n}", value) for n in sequences])


def revision(member: Member, session: int, sequence: int) -> int:
    (result,) = member.answers[session, sequence]
    assert isinstance(result, PutResponse)
    return result.header.revision


@pytest.mark.parametrize("place", [0, 1], ids=["leader", "follower"])
def test_a_session_is_opened_and_answered_where_its_client_is(place: int) -> None:
    """On any node, after that node's own apply; all answers of a turn come together."""
    cluster = Cluster()
    members = cluster.elect()
    here, elsewhere = members[place], members[1 - place]
    session = cluster.open_session(here)
    submit(here, session, 1, 2, 3)
    cluster.settle()
    assert [revision(here, session, n) for n in (1, 2, 3)] == [2, 3, 4]
    assert elsewhere.answers == elsewhere.opened == {}
    told = [a for turn in here.turns for s in turn if isinstance(s, AnswerAll) for a in s.answers]
    (answers,) = [answer for answer in told if isinstance(answer, SessionAnswers)]
    assert [sequence for sequence, _ in answers.answers] == [1, 2, 3]


def test_each_asked_for_session_is_a_new_one() -> None:
    cluster = Cluster()
    members = cluster.elect()
    asked = [(member, member.replica.open_session()) for member in members for _ in range(2)]
    cluster.run_until(lambda: all(number in member.opened for member, number in asked))
    assert sorted(member.opened[number] for member, number in asked) == [1, 2, 3, 4, 5, 6]


def test_the_same_request_on_two_nodes_is_applied_once_and_answered_by_both() -> None:
    """The client's stream broke and it went elsewhere: both copies have one revision, whoever is asked."""
    cluster = Cluster()
    leader, follower, other = cluster.elect()
    session = cluster.open_session(leader)
    follower.replica.attach(session)
    cluster.run_until(cluster.agreed)
    submit(leader, session, 1, value="v")
    submit(follower, session, 1, value="v")
    cluster.settle()
    cluster.run_until(cluster.agreed)
    assert revision(leader, session, 1) == revision(follower, session, 1) == 2
    assert other.times_put("s1") == 1
    submit(follower, session, 1, value="v")
    cluster.settle()
    assert [r.header.revision for r in follower.answers[session, 1] if isinstance(r, PutResponse)] == [2, 2]
    assert other.times_put("s1") == 1


def test_a_detached_session_is_answered_nowhere_and_may_be_applied() -> None:
    cluster = Cluster()
    leader, follower, _ = cluster.elect()
    session = cluster.open_session(follower)
    submit(follower, session, 1)
    cluster.turn(follower.node_id)
    submit(follower, session, 2)
    follower.replica.detach(session)
    follower.replica.detach(session)
    cluster.settle()
    assert follower.answers == {}
    assert leader.value("s1") == ""
    assert leader.value("s2") is None, "it had not left"
    assert follower.replica.pending_writes == 0


def test_a_client_that_comes_back_is_answered_what_it_asks_for_again() -> None:
    """Detached with requests under way, attached again, sent again: one answer each, applied once."""
    cluster = Cluster()
    leader, follower, _ = cluster.elect()
    session = cluster.open_session(follower)
    cluster.holds = lambda wire: isinstance(wire.message, Forward)
    submit(follower, session, 1, 2)
    cluster.settle()
    follower.replica.detach(session)
    follower.replica.attach(session)
    submit(follower, session, 1, 2, 3)
    cluster.settle()
    cluster.release()
    cluster.settle()
    assert [revision(follower, session, n) for n in (1, 2, 3)] == [2, 3, 4]
    assert [leader.times_put(f"s{n}") for n in (1, 2, 3)] == [1, 1, 1]
    assert follower.replica.pending_writes == 0


def test_a_session_survives_everything_that_happens_to_the_cluster() -> None:
    """Its leader dies, its own node restarts, and all of them at once: what is sent again gets its first answer."""
    cluster = Cluster()
    leader, follower, other = cluster.elect()
    session = cluster.open_session(follower)
    submit(follower, session, 1)
    cluster.settle()
    first = revision(follower, session, 1)
    cluster.crash(leader.node_id)
    submit(follower, session, 2)
    cluster.run_until(lambda: (session, 2) in follower.answers)
    cluster.start(leader.node_id)
    cluster.run_until(cluster.agreed)
    for member in (leader, follower, other):
        cluster.crash(member.node_id)
    for member in (leader, follower, other):
        cluster.start(member.node_id)
    cluster.elect()
    other.replica.attach(session)
    submit(other, session, 1, 2, 3)
    cluster.run_until(lambda: (session, 3) in other.answers)
    assert revision(other, session, 1) == first
    cluster.run_until(cluster.agreed)
    assert [other.times_put(f"s{n}") for n in (1, 2, 3)] == [1, 1, 1]


def test_an_answer_that_its_client_has_is_not_kept() -> None:
    """``unanswered_from`` goes through the log: below it, a request's fate is unknown, and it is not applied again."""
    cluster = Cluster()
    leader, *_ = cluster.elect()
    session = cluster.open_session(leader)
    submit(leader, session, 1, 2)
    cluster.settle()
    entry = of_session(session, 3, "s3")
    entry.unanswered_from = 3
    leader.replica.submit(session, [entry])
    cluster.settle()
    submit(leader, session, 2)
    cluster.settle()
    _, again = leader.answers[session, 2]
    assert isinstance(again, Refusal)
    assert again.fate_unknown
    assert not again.session_expired
    assert leader.times_put("s2") == 1


def test_a_request_of_an_unknown_session_is_refused() -> None:
    """Never opened silently; and of a first copy it is known that it was not applied."""
    cluster = Cluster()
    leader, *_ = cluster.elect()
    leader.replica.attach(99)
    submit(leader, 99, 1)
    cluster.settle()
    ((refusal,),) = leader.answers.values()
    assert isinstance(refusal, Refusal)
    assert (refusal.session_expired, refusal.fate_unknown) == (True, False)
    assert leader.value("s1") is None


@pytest.mark.parametrize("resent", [False, True])
def test_the_fate_of_a_request_that_left_twice_before_its_session_was_gone_is_unknown(resent: bool) -> None:
    waiting = Writes(NodeId(1), 1, pending_max=9, entries_max=9, bytes_max=999, resend_s=1.0)
    waiting.attach(5)
    waiting.submit(5, [of_session(5, 1, "k")])
    ((_, batch),) = waiting.take_forwards(0.0)
    if resent:
        waiting.resend(())
        ((_, batch),) = waiting.take_forwards(0.0)
    waiting.settle(CommandBatch(entries=batch.entries), [Refusal(code=None, text="", session_expired=True)])  # type: ignore[arg-type]
    ((session, ((sequence, result),)),) = waiting.take_answers()
    assert (session, sequence) == (5, 1)
    assert isinstance(result, Refusal)
    assert result.fate_unknown == resent
    assert waiting.pending_count == 0


def test_requests_under_way_again_keep_their_order() -> None:
    """What left first leaves first again, ahead of what has not left yet."""
    waiting = Writes(NodeId(1), 1, pending_max=99, entries_max=2, bytes_max=9999, resend_s=1.0)
    waiting.attach(5)
    waiting.submit(5, [of_session(5, n, "k") for n in range(1, 6)])
    proposal = waiting.take_batch()
    assert proposal is not None
    list(waiting.take_forwards(0.0))
    waiting.submit(5, [of_session(5, 6, "k")])
    waiting.resend([proposal])
    again = [entry.sequence for _, batch in waiting.take_forwards(2.0) for entry in batch.entries]
    assert again == [1, 2, 3, 4, 5, 6]
    waiting.resend([proposal])
    assert waiting.waiting_count == 6, "the proposal's entries are not its own any more"


# Expiry


def test_expiry_names_the_slot_of_a_note_that_is_old_enough() -> None:
    """Notes come every eighth of the time; the first is due after all of it, and not a moment before."""
    expiry = SessionExpiry(ttl_s=8.0)
    assert expiry.next_deadline() is None
    assert expiry.due(100.0, applied_end=10) is None
    assert expiry.next_deadline() == 101.0
    assert expiry.due(100.9, applied_end=15) is None
    assert expiry.due(101.0, applied_end=20) is None
    assert expiry.due(107.9, applied_end=30) is None
    assert expiry.next_deadline() == 108.0
    assert expiry.due(108.0, applied_end=40) == 10
    assert expiry.due(108.5, applied_end=50) is None
    assert expiry.due(109.0, applied_end=60) == 20


def test_a_new_leadership_begins_to_wait_anew() -> None:
    expiry = SessionExpiry(ttl_s=8.0)
    expiry.due(100.0, applied_end=10)
    expiry.lost_leadership()
    assert expiry.next_deadline() is None
    assert expiry.due(108.0, applied_end=40) is None
    assert expiry.due(115.9, applied_end=50) is None
    assert expiry.due(116.0, applied_end=60) == 40


def test_a_leader_that_was_away_for_long_expires_what_was_unused_before() -> None:
    """A note that is far too old names its own slot all the same: what was used since stays."""
    expiry = SessionExpiry(ttl_s=8.0)
    expiry.due(100.0, applied_end=10)
    assert expiry.due(1000.0, applied_end=90) == 10
    assert expiry.due(1000.0, applied_end=90) is None


def test_an_unused_session_expires_on_all_replicas_alike() -> None:
    """Between once and somewhat more than the time; a session in use stays."""
    cluster = Cluster(session_ttl_s=8.0)
    leader, *_ = members = cluster.elect()
    unused, used = cluster.open_session(leader), cluster.open_session(leader)
    begun = cluster.now
    sequence = 0
    while leader.store.has_session(unused):
        assert cluster.now - begun < 8.0 * 1.3
        sequence += 1
        submit(leader, used, sequence)
        cluster.run(0.5)
    assert cluster.now - begun >= 8.0
    cluster.run_until(cluster.agreed)
    assert [member.store.has_session(unused) for member in members] == [False] * 3
    assert [member.store.has_session(used) for member in members] == [True] * 3
    assert len({member.store.state_hash for member in members}) == 1


def test_no_session_expires_early_when_the_leader_changes() -> None:
    """The new one knows nothing of the past: it waits for the whole time from its election on."""
    cluster = Cluster(session_ttl_s=8.0)
    leader, *others = cluster.elect()
    session = cluster.open_session(leader)
    cluster.run(7.0)
    assert leader.replica.hand_over(cluster.now) is not None
    cluster.settle()
    changed = cluster.now
    assert cluster.leader() is not leader
    cluster.run(7.5)
    assert all(member.store.has_session(session) for member in (leader, *others))
    cluster.run_until(lambda: not cluster.leader().store.has_session(session), within_s=8.0 * 0.5)
    assert cluster.now - changed >= 8.0


def test_a_cluster_without_sessions_proposes_no_expiry() -> None:
    """Nor does one whose sessions are all in use: an idle log stays as it is."""
    cluster = Cluster(session_ttl_s=2.0)
    leader, *_ = cluster.elect()
    end = leader.store.applied_end
    cluster.run(10.0)
    assert leader.store.applied_end == end


def test_the_node_s_own_session_expires_unused_and_is_opened_again() -> None:
    cluster = Cluster(session_ttl_s=2.0)
    leader, follower, _ = cluster.ready()
    cluster.run(10.0)
    assert not any(leader.store.has_session(session) for session in range(1, 4))
    ticket = follower.replica.write(of_session(0, 0, "k", "v"))
    begun = cluster.now
    cluster.run_until(lambda: ticket in follower.results)
    assert isinstance(follower.results[ticket], PutResponse)
    assert cluster.now - begun < 0.1
    assert follower.times_put("k") == 1
