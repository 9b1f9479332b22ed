"""The rules of a session, one story each. ``Driven`` is the stream, the clock and whoever waits."""

import pytest
from kvclient import errors
from kvclient.decisions import CLOSED_DURING_THE_CALL, Failure
from kvclient.errors import Code
from kvclient.results import DeleteResult, KeyValue, PutResult
from kvclient.session import engine as rules
from kvclient.session.engine import Leave
from kvclient.session.patience import REFUSED_MAX_S
from kvproto.session_pb2 import Refusal, ServerBatch

from tests.client.session.calls import EXPIRED, LOST, SILENCE_S, Driven, delete, get, put, txn, unavailable


@pytest.fixture
def driven() -> Driven:
    return Driven()


def test_everything_that_waits_goes_out_in_one_batch(driven):
    driven.submit(put("a", "1"), get("a"), delete("b"), txn("c"), put("d", "2"))
    assert driven.take() is None, "nothing is sent before a session is opened"
    assert driven.open(7) == 0, "a new session is asked for"
    batch = driven.take()
    assert [(e.session, e.sequence, e.WhichOneof("command")) for e in batch.entries] == [
        (7, 1, "put"),
        (7, 2, "delete_range"),
        (7, 3, "txn"),
        (7, 4, "put"),
    ]
    assert [(r.number, r.range.key) for r in batch.reads] == [(1, b"a")]
    assert (batch.entries[3].put.key, batch.entries[3].put.value) == (b"d", b"2")
    assert (batch.unanswered_from, batch.HasField("open")) == (1, False)
    assert driven.take() is None


def test_answers_come_in_any_order(driven):
    calls = first, second, removed, found = put(), put(), delete(), get()
    driven.submit(*calls)
    driven.open()
    driven.take()
    driven.answer_puts(_2=11)
    assert [call.handle.all for call in calls] == [[], [PutResult(11)], [], []]
    batch = ServerBatch(put_sequences=[1], put_revisions=[10])
    batch.writes.add(sequence=3).delete_range.deleted = 1
    batch.reads.add(number=1).range.kvs.add(key=b"k", value=b"v", mod_revision=9)
    driven.receive(batch)
    assert (first.handle.one, second.handle.one) == (PutResult(10), PutResult(11))
    assert removed.handle.one == DeleteResult(deleted=1, revision=0)
    assert found.handle.one == KeyValue(b"k", b"v", 0, 9, 0, 0)
    driven.receive(batch)
    driven.wait(200)
    assert all(len(call.handle.all) == 1 for call in calls), "each call is answered once"


def test_the_lowest_unanswered_sequence_is_told(driven):
    driven.open()
    driven.submit(put(), put(), put())
    driven.take()
    driven.answer_puts(_2=5)
    driven.submit(put())
    assert driven.take().unanswered_from == 1
    driven.answer_puts(_1=6, _3=7, _4=8)
    driven.submit(put())
    assert driven.take().unanswered_from == 5
    driven.answer_puts(_5=9)
    driven.submit(get())
    assert driven.take().unanswered_from == 6


def test_what_a_lost_stream_had_goes_out_again_under_the_same_numbers(driven):
    calls = [put("a"), put("b"), get("c"), txn("d")]
    driven.submit(*calls)
    driven.open(7)
    driven.take()
    driven.answer_puts(_1=5)
    driven.submit(put("e"))
    driven.lose()
    assert driven.open(7) == 7, "the same session"
    again = driven.take()
    assert [(e.session, e.sequence, e.WhichOneof("command")) for e in again.entries] == [
        (7, 2, "put"),
        (7, 3, "txn"),
        (7, 4, "put"),
    ]
    assert [r.range.key for r in again.reads] == [b"c"]
    assert again.unanswered_from == 2


def test_the_window_is_kept(driven):
    driven.submit(*(put() for _ in range(10)))
    driven.open(requests_max=4)
    assert driven.sent() == [1, 2, 3, 4]
    assert driven.take() is None
    driven.answer_puts(_2=5, _3=6)
    assert driven.take() is None, "4 would be between the lowest unanswered, 1, and the newest"
    driven.answer_puts(_1=7)
    assert driven.sent() == [5, 6, 7]


def test_reads_count_in_the_window_and_bytes_do(driven):
    driven.submit(get(), get(), put(), put())
    driven.open(requests_max=3)
    batch = driven.take()
    assert (len(batch.reads), len(batch.entries)) == (2, 1)

    driven = Driven()
    driven.submit(*(put("k", "v" * 1000) for _ in range(10)))
    driven.open(bytes_max=5000)
    assert driven.sent() == [1, 2, 3, 4]
    driven.answer_puts(_1=5)
    assert driven.sent() == [5]


def test_a_message_is_never_larger_than_servers_take(driven):
    driven.submit(*(put("k", "v" * (1 << 20)) for _ in range(3)))
    driven.open(bytes_max=32 << 20)
    assert [driven.sent(), driven.sent(), driven.sent()] == [[1], [2], [3]]


def test_a_request_larger_than_the_window_is_refused_here(driven):
    large, small = put("k", "v" * 5000), put()
    driven.submit(large, small)
    driven.open(bytes_max=4000)
    assert driven.sent() == [1]
    driven.settle()
    assert type(large.handle.one) is errors.ResourceExhausted
    driven.answer_puts(_1=5)
    assert small.handle.one == PutResult(5)


def test_a_write_that_was_never_sent_was_certainly_not_done(driven):
    write, read = put(deadline=3), get(deadline=3)
    driven.submit(write, read)
    driven.lose(LOST)
    driven.wait(4)
    assert type(write.handle.one) is errors.Unavailable
    assert type(read.handle.one) is errors.Unavailable
    assert (write.handle.one.text, write.handle.one.endpoint) == (LOST.text, LOST.endpoint)
    driven.open()
    assert driven.take() is None


def test_without_a_leader_a_session_cannot_be_opened(driven):
    write = put(deadline=3)
    driven.submit(write)
    driven.lose(Failure(Code.UNAVAILABLE, "etcdserver: no leader", "a:1"))
    driven.wait(4)
    assert type(write.handle.one) is errors.NoLeader


def test_a_write_that_was_sent_is_of_unknown_outcome_at_its_deadline(driven):
    write, read = put(deadline=3), get(deadline=3)
    driven.submit(write, read)
    driven.open()
    driven.take()
    assert driven.engine.next_deadline() <= driven.now + 3
    driven.wait(3)
    assert type(write.handle.one) is errors.UnknownOutcome
    assert type(read.handle.one) is errors.DeadlineExceeded
    driven.submit(put())
    assert driven.take().unanswered_from == 2, "nobody wants the answer any more"


def test_so_is_one_that_was_on_a_lost_stream(driven):
    write = put(deadline=3)
    driven.submit(write)
    driven.open()
    driven.take()
    driven.lose()
    driven.wait(3)
    assert type(write.handle.one) is errors.UnknownOutcome
    driven.open()
    assert driven.take() is None, "and it is not sent again"


def test_a_late_answer_gives_room_back_and_nothing_else(driven):
    write = put(deadline=3)
    driven.submit(write, put(), put())
    driven.open(requests_max=2)
    assert driven.sent() == [1, 2]
    driven.wait(3)
    assert driven.take() is None, "the server has both still"
    driven.answer_puts(_1=5)
    assert driven.sent() == [3]
    assert type(write.handle.one) is errors.UnknownOutcome


def test_a_cancelled_call_that_waits_is_not_sent(driven):
    first, second = put(), put()
    driven.submit(first, second)
    driven.engine.abandon(first)
    assert driven.engine.wants_stream
    driven.engine.abandon(second)
    assert not driven.engine.wants_stream
    driven.open()
    assert driven.take() is None
    driven.wait(200)
    assert first.handle.all == []


@pytest.mark.parametrize("where", ["on the stream", "on a lost stream", "refused"])
def test_a_cancelled_call_that_was_sent_counts_as_answered(driven, where):
    call = put()
    driven.submit(call)
    driven.open()
    driven.take()
    if where == "on a lost stream":
        driven.lose()
        driven.open()
    elif where == "refused":
        driven.refuse(1, unavailable())
    driven.engine.abandon(call)
    driven.submit(put())
    driven.wait(0.3)
    batch = driven.take()
    assert ([e.sequence for e in batch.entries], batch.unanswered_from) == ([2], 2)
    driven.answer_puts(_1=4, _2=5)
    assert call.handle.all == []


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (3, "etcdserver: key is not provided", errors.InvalidArgument),
        (5, "etcdserver: requested lease not found", errors.NotFound),
        (8, "etcdserver: too many requests", errors.ResourceExhausted),
        (8, "etcdserver: mvcc: database space exceeded", errors.ResourceExhausted),
        (11, "etcdserver: mvcc: required revision has been compacted", errors.Compacted),
        (13, "oh", errors.Unavailable),
        (99, "what", errors.Unavailable),
    ],
)
def test_a_refusal_says_that_nothing_was_done(driven, code, text, kind):
    call = put()
    driven.submit(call)
    driven.open()
    driven.take()
    driven.refuse(1, Refusal(code=code, text=text))
    assert type(call.handle.one) is kind
    assert call.handle.one.text == text
    driven.submit(put())
    assert driven.take().unanswered_from == 2


def test_a_refused_copy_says_nothing_of_another(driven):
    """Unless no copy could have been taken."""
    for code, kind in ((8, errors.UnknownOutcome), (3, errors.InvalidArgument)):
        driven = Driven()
        call = put()
        driven.submit(call)
        driven.open()
        driven.take()
        driven.lose()
        driven.open()
        driven.take()
        driven.refuse(1, Refusal(code=code, text="etcdserver: no"))
        assert type(call.handle.one) is kind


def test_a_fate_that_the_server_does_not_know_is_unknown(driven):
    call = put()
    driven.submit(call)
    driven.open()
    driven.take()
    driven.refuse(1, Refusal(code=9, text="kvstore: forgotten", unknown=True))
    assert type(call.handle.one) is errors.UnknownOutcome


@pytest.mark.parametrize("unknown", [False, True])
def test_a_write_refused_for_now_is_sent_again_after_a_pause(driven, unknown):
    """In the same session under the same number: if the first copy was applied after all, its answer comes."""
    call = put()
    driven.submit(call)
    driven.open()
    driven.take()
    driven.refuse(1, unavailable(unknown=unknown))
    assert driven.take() is None
    assert driven.now < driven.engine.next_deadline() <= driven.now + 0.02
    driven.wait(0.02)
    assert driven.sent() == [1]
    driven.answer_puts(_1=5)
    assert call.handle.one == PutResult(5)


@pytest.mark.parametrize(("unknown", "kind"), [(False, errors.NoLeader), (True, errors.UnknownOutcome)])
def test_refused_until_its_deadline(unknown, kind):
    driven = Driven(alone=True)
    call = put(deadline=2)
    driven.submit(call)
    driven.open()
    driven.take()
    sendings = 1
    while not call.handle.all:
        driven.refuse(1, unavailable(unknown=unknown))
        driven.wait(0.25)
        sendings += driven.take() is not None
    assert sendings > 3
    assert type(call.handle.one) is kind


def test_a_refused_write_is_not_sent_again_at_its_very_deadline():
    """The answer could hardly come in time, and a write that certainly was not done would end in doubt."""
    driven = Driven(alone=True)
    call = put(deadline=2)
    driven.submit(call)
    driven.open()
    driven.take()
    driven.wait(2 - rules.LAST_COPY_S)
    driven.refuse(1, unavailable())
    driven.wait(rules.LAST_COPY_S / 2)
    assert driven.take() is None
    driven.wait(rules.LAST_COPY_S)
    assert type(call.handle.one) is errors.NoLeader


def test_a_read_refused_for_now_is_asked_again(driven):
    call = get()
    driven.submit(call)
    driven.open()
    driven.take()
    batch = ServerBatch()
    batch.reads.add(number=1).refusal.CopyFrom(unavailable("etcdserver: request timed out"))
    driven.receive(batch)
    driven.wait(0.02)
    assert [read.number for read in driven.take().reads] == [2]
    batch = ServerBatch()
    batch.reads.add(number=2).range.SetInParent()
    driven.receive(batch)
    assert call.handle.one is None


def test_an_answer_to_something_else_leaves_the_fate_unknown(driven):
    write, read, removed = put(), get(), delete()
    driven.submit(write, read, removed)
    driven.open()
    driven.take()
    batch = ServerBatch(put_sequences=[2], put_revisions=[4])
    batch.writes.add(sequence=1).txn.succeeded = True
    batch.reads.add(number=1).txn.succeeded = True
    driven.receive(batch)
    assert [type(call.handle.one) for call in (write, read, removed)] == [
        errors.UnknownOutcome,
        errors.ServerFailed,
        errors.UnknownOutcome,
    ]


# --- the end of sessions ---------------------------------------------------------------------------------------------


def test_an_expired_session_is_renewed_where_nothing_is_in_doubt(driven):
    """A copy that is the only one and was refused goes into the next session as if it were new."""
    calls = [put("a"), put("b"), put("c")]
    driven.submit(*calls)
    driven.open(7)
    driven.take()
    driven.refuse(1, EXPIRED)
    assert driven.engine.leave(driven.now) is None, "not before it is known what becomes of the others"
    driven.submit(put("d"))
    assert driven.take() is None
    driven.answer_puts(_2=5)
    driven.refuse(3, EXPIRED)
    assert driven.engine.leave(driven.now) is Leave.RENEW
    driven.lose(None)
    assert driven.open(8) == 0, "a new one is asked for"
    batch = driven.take()
    assert [(e.session, e.sequence, e.put.key) for e in batch.entries] == [(8, 1, b"a"), (8, 2, b"c"), (8, 3, b"d")]
    assert [call.handle.all for call in calls] == [[], [PutResult(5)], []]


def test_what_was_sent_twice_has_expired_with_its_session(driven):
    call = put()
    driven.submit(call)
    driven.open(7)
    driven.take()
    driven.lose()
    driven.open(7)
    driven.take()
    driven.refuse(1, EXPIRED)
    assert type(call.handle.one) is errors.SessionExpired
    assert isinstance(call.handle.one, errors.UnknownOutcome)
    assert driven.engine.leave(driven.now) is Leave.RENEW


def test_a_renewal_does_not_wait_for_ever_for_the_rest(driven):
    first, second = put("a"), put("b")
    driven.submit(first, second)
    driven.open(7)
    driven.take()
    driven.refuse(1, EXPIRED)
    driven.wait(rules.HOLD_MAX_S)
    assert driven.engine.leave(driven.now) is Leave.RENEW
    driven.lose(None)
    assert type(second.handle.one) is errors.SessionExpired
    driven.open(8)
    assert driven.sent() == [1]


def test_a_server_that_opens_another_session_has_lost_the_old_one(driven):
    sent, waits = put(), put()
    driven.submit(sent)
    driven.open(7)
    driven.take()
    driven.lose()
    driven.submit(waits)
    driven.open(8)
    assert type(sent.handle.one) is errors.SessionExpired
    assert [(e.session, e.sequence) for e in driven.take().entries] == [(8, 1)]


@pytest.mark.parametrize("connected", [True, False])
def test_a_session_that_was_idle_for_long_is_not_used_again(driven, connected):
    driven.submit(put())
    driven.open(7)
    driven.take()
    driven.answer_puts(_1=5)
    if not connected:
        driven.lose()
    driven.wait(rules.IDLE_MAX_S + 1)
    driven.submit(put("late"))
    if connected:
        assert driven.take() is None
        assert driven.engine.leave(driven.now) is Leave.RENEW
        driven.lose(None)
    assert driven.open(8) == 0
    assert [(e.session, e.sequence, e.put.key) for e in driven.take().entries] == [(8, 1, b"late")]


def test_reading_does_not_renew(driven):
    driven.submit(put())
    driven.open(7)
    driven.take()
    driven.answer_puts(_1=5)
    driven.wait(rules.IDLE_MAX_S + 1)
    driven.submit(get())
    assert len(driven.take().reads) == 1
    assert driven.engine.leave(driven.now) is None


# --- leaving a stream ------------------------------------------------------------------------------------------------


def test_a_server_that_keeps_silent_is_left(driven):
    driven.open()
    driven.wait(10 * SILENCE_S)
    assert driven.engine.leave(driven.now) is None, "nobody asked it anything"
    driven.submit(put())
    driven.take()
    driven.wait(0.9 * SILENCE_S)
    driven.receive(ServerBatch())
    driven.wait(0.9 * SILENCE_S)
    assert driven.engine.leave(driven.now) is None
    assert driven.engine.next_deadline() == pytest.approx(driven.now + 0.1 * SILENCE_S)
    driven.wait(0.2 * SILENCE_S)
    assert driven.engine.leave(driven.now) is Leave.SILENT


def test_a_server_without_a_leader_is_left_for_another(driven):
    for alone in (False, True):
        driven = Driven(alone=alone)
        driven.submit(put())
        driven.open()
        driven.take()
        began = driven.now
        while driven.now < began + REFUSED_MAX_S:
            driven.refuse(1, unavailable())
            assert driven.engine.leave(driven.now) is None
            driven.wait(0.25)
            assert driven.take() is not None
        assert driven.engine.leave(driven.now) is (None if alone else Leave.REFUSING)


def test_a_move_waits_until_the_stream_is_drained(driven):
    first, second, read = put("a"), put("b"), get("c")
    driven.submit(first)
    driven.open(7)
    driven.take()
    driven.engine.hold(driven.now)
    driven.submit(second, read)
    assert driven.take() is None
    assert not driven.engine.is_drained(driven.now)
    driven.answer_puts(_1=5)
    assert driven.engine.is_drained(driven.now)
    driven.lose(None)
    assert driven.open(7) == 7
    batch = driven.take()
    assert ([e.sequence for e in batch.entries], len(batch.reads)) == ([2], 1)
    assert not second.doubted


def test_a_move_that_fails_sends_on(driven):
    driven.open()
    driven.engine.hold(driven.now)
    driven.submit(put())
    assert driven.take() is None
    driven.engine.release()
    assert driven.sent() == [1]


# --- the end ---------------------------------------------------------------------------------------------------------


def test_the_end_is_honest(driven):
    sent, read, doubted, waits = put(), get(), put(), put()
    driven.submit(doubted)
    driven.open()
    driven.take()
    driven.lose()
    driven.open()
    driven.submit(sent, read)
    driven.take()
    driven.submit(waits)
    driven.engine.end(Failure(Code.CANCELLED, CLOSED_DURING_THE_CALL, "a:1"))
    driven.settle()
    assert [type(call.handle.one) for call in (doubted, sent, read, waits)] == [
        errors.UnknownOutcome,
        errors.UnknownOutcome,
        errors.ClientClosed,
        errors.ClientClosed,
    ]
    driven.wait(200)


def test_no_more_calls_may_wait_than_have_room(driven):
    driven.submit(*(put() for _ in range(rules.WAITING_MAX)))
    with pytest.raises(errors.ResourceExhausted):
        driven.submit(put())
