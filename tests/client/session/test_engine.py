"""The engine's calls from their beginning to their end, one story each. ``Driven`` is the stream, the clock and whoever
waits."""

import pytest
from kvclient import errors
from kvclient.decisions import CLOSED_DURING_THE_CALL, Failure
from kvclient.errors import Code
from kvclient.results import DeleteResult, KeyValue, PutResult
from kvclient.session import engine as rules
from kvproto.session_pb2 import ServerBatch

from tests.client.session.calls import LOST, delete, get, put, txn, unavailable


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
