"""Sequences and their floor, over lost streams and from one session to the next."""

import pytest
from kvclient import errors
from kvclient.results import PutResult
from kvclient.session.engine import Leave
from kvclient.session.window import HOLD_MAX_S
from kvclient.session.writes import IDLE_MAX_S

from tests.client.session.calls import EXPIRED, get, put, txn, unavailable


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


def test_a_doubted_write_that_ends_with_its_session_takes_no_other_with_it(driven):
    """The writes of the next session have new sequences, which may be those of the last one's."""
    doubted, refused = put("a"), put("b")
    driven.submit(doubted, refused)
    driven.open(7)
    driven.take()
    driven.refuse(2, unavailable())
    driven.lose()
    driven.open(8)
    assert type(doubted.handle.one) is errors.SessionExpired
    driven.engine.abandon(doubted)
    assert [(e.session, e.sequence, e.put.key) for e in driven.take().entries] == [(8, 1, b"b")]
    driven.lose()
    driven.open(8)
    assert driven.sent() == [1]
    driven.answer_puts(_1=5)
    assert refused.handle.one == PutResult(5)


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
    driven.wait(HOLD_MAX_S)
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
    driven.wait(IDLE_MAX_S + 1)
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
    driven.wait(IDLE_MAX_S + 1)
    driven.submit(get())
    assert len(driven.take().reads) == 1
    assert driven.engine.leave(driven.now) is None
