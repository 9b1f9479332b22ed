"""How much is before a server, and when nothing new is."""

import pytest
from kvclient import errors
from kvclient.results import PutResult
from kvclient.session.engine import Leave
from kvclient.session.pending import REQUEST_BYTES_MAX
from kvproto.session_pb2 import ServerBatch

from tests.client.session.calls import SILENCE_S, Driven, get, put


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


def test_unless_a_copy_of_it_went_to_a_server_with_a_larger_one(driven):
    call = put("k", "v" * 5000)
    driven.submit(call)
    driven.open(bytes_max=8000)
    driven.take()
    driven.lose()
    driven.open(bytes_max=4000)
    assert driven.take() is None
    driven.settle()
    assert type(call.handle.one) is errors.UnknownOutcome


def test_the_largest_request_that_goes_by_a_stream_fits_into_a_batch(driven):
    driven.submit(put("k", "v" * (REQUEST_BYTES_MAX - 1)))
    driven.open(bytes_max=32 << 20)
    assert driven.sent() == [1]


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
