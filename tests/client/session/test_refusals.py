"""What a refusal says of a call, and how long a server that refuses is borne with."""

import pytest
from kvclient import errors
from kvclient.results import PutResult
from kvclient.session.engine import Leave
from kvclient.session.patience import REFUSED_MAX_S
from kvclient.session.writes import LAST_COPY_S
from kvproto.session_pb2 import Refusal, ServerBatch

from tests.client.session.calls import EXPIRED, Driven, get, put, unavailable


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
    driven.wait(2 - LAST_COPY_S)
    driven.refuse(1, unavailable())
    driven.wait(LAST_COPY_S / 2)
    assert driven.take() is None
    driven.wait(LAST_COPY_S)
    assert type(call.handle.one) is errors.NoLeader


def test_nor_is_it_when_its_stream_is_lost_meanwhile(driven):
    """No copy is under way, so that the loss puts nothing in doubt."""
    call, later = put("a", deadline=2), put("b", deadline=3)
    driven.submit(call, later)
    driven.open()
    driven.take()
    driven.wait(2 - LAST_COPY_S)
    driven.refuse(1, unavailable())
    driven.refuse(2, unavailable())
    driven.lose()
    driven.wait(LAST_COPY_S / 2)
    driven.open()
    assert driven.sent() == [2]
    driven.wait(LAST_COPY_S)
    assert type(call.handle.one) is errors.NoLeader
    driven.answer_puts(_2=5)
    assert later.handle.one == PutResult(5)


def test_nor_when_its_session_is_renewed_meanwhile(driven):
    call, later = put("a", deadline=2), put("b", deadline=3)
    driven.submit(call, later)
    driven.open(7)
    driven.take()
    driven.wait(2 - LAST_COPY_S)
    driven.refuse(1, EXPIRED)
    driven.refuse(2, EXPIRED)
    driven.lose(None)
    driven.wait(LAST_COPY_S / 2)
    driven.open(8)
    assert [(e.session, e.put.key) for e in driven.take().entries] == [(8, b"b")]
    driven.wait(LAST_COPY_S)
    assert type(call.handle.one) is errors.Unavailable


def test_a_doubted_write_is_sent_again_until_its_deadline(driven):
    """There is no certainty to lose, and the answer to another copy may come in time."""
    on_lost_stream, refused = put(deadline=2), put(deadline=2)
    driven.submit(on_lost_stream, refused)
    driven.open()
    driven.take()
    driven.wait(2 - LAST_COPY_S)
    driven.refuse(2, unavailable(unknown=True))
    driven.lose()
    driven.wait(LAST_COPY_S / 2)
    driven.open()
    assert driven.sent() == [1, 2]
    driven.answer_puts(_1=5, _2=6)
    assert (on_lost_stream.handle.one, refused.handle.one) == (PutResult(5), PutResult(6))


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
