"""What waits for a peer stays within its bounds, and each lane loses what is worth least on it."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.transport.handshake import Lane
from kvstore.transport.outbound import OutboundQueue
from tests.transport.messages import EXAMPLES


def queue(lane: Lane, *, messages_max: int = 3, bytes_max: int = 100) -> OutboundQueue:
    return OutboundQueue(lane, messages_max=messages_max, bytes_max=bytes_max)


def drain(waiting: OutboundQueue) -> list[bytes]:
    return waiting.take(bytes_max=1 << 30)


def test_protocol_messages_drop_the_oldest() -> None:
    """A full protocol lane keeps what is newest, in order."""
    waiting = queue(Lane.PROTOCOL)

    for message in (b"a", b"b", b"c", b"d", b"e"):
        waiting.push(message)

    assert (len(waiting), waiting.size_bytes, waiting.dropped) == (3, 3, 2)
    assert drain(waiting) == [b"c", b"d", b"e"]
    assert (len(waiting), waiting.size_bytes, waiting.dropped) == (0, 0, 2)


def test_bulk_messages_drop_the_newest() -> None:
    """A full bulk lane keeps what has waited longest, in order, and has room again once some is taken."""
    waiting = queue(Lane.BULK)

    for message in (b"a", b"b", b"c", b"d", b"e"):
        waiting.push(message)

    assert (len(waiting), waiting.size_bytes, waiting.dropped) == (3, 3, 2)
    assert waiting.take(bytes_max=1) == [b"a"]
    waiting.push(b"f")
    assert drain(waiting) == [b"b", b"c", b"f"]
    assert waiting.dropped == 2


def test_a_large_protocol_message_costs_as_many_old_ones_as_it_needs() -> None:
    """Bytes are bounded like messages are; no more is lost than must be."""
    waiting = queue(Lane.PROTOCOL, messages_max=10, bytes_max=100)
    for letter in (b"a", b"b", b"c"):
        waiting.push(letter * 30)

    waiting.push(b"d" * 60)

    assert drain(waiting) == [b"c" * 30, b"d" * 60]
    assert waiting.dropped == 2


@pytest.mark.parametrize("lane", Lane)
def test_one_message_always_fits_an_empty_queue(lane: Lane) -> None:
    """A message above ``bytes_max`` can still be sent, alone."""
    waiting = queue(lane, bytes_max=10)

    waiting.push(b"x" * 50)

    assert waiting.take(bytes_max=1) == [b"x" * 50]
    assert waiting.dropped == 0


def test_nothing_is_taken_from_nothing() -> None:
    """An empty queue gives an empty batch."""
    assert queue(Lane.BULK).take(bytes_max=100) == []


@EXAMPLES
@given(
    lane=st.sampled_from(Lane),
    messages_max=st.integers(1, 5),
    bytes_max=st.integers(0, 60),
    steps=st.lists(
        st.integers(0, 40).map(lambda size: ("push", size)) | st.integers(0, 80).map(lambda size: ("take", size)),
        max_size=40,
    ),
)
def test_a_queue_is_a_bounded_list(lane: Lane, messages_max: int, bytes_max: int, steps: list[tuple[str, int]]) -> None:
    """Like a plain list that is cut at its bounds: order kept, bounds kept, nothing lost without being counted."""
    waiting = queue(lane, messages_max=messages_max, bytes_max=bytes_max)
    model: deque[bytes] = deque()
    pushed = taken = 0

    def is_full(model: deque[bytes], size: int) -> bool:
        return bool(model) and (len(model) >= messages_max or sum(map(len, model)) + size > bytes_max)

    for step, (what, size) in enumerate(steps):
        if what == "push":
            message = bytes([step]) * size
            pushed += 1
            waiting.push(message)
            while lane is Lane.PROTOCOL and is_full(model, size):
                model.popleft()
            if not is_full(model, size):
                model.append(message)
        else:
            batch = waiting.take(bytes_max=size)
            assert batch == [model.popleft() for _ in batch]
            assert sum(map(len, batch)) <= size or len(batch) == 1
            assert not model or sum(map(len, batch)) + len(model[0]) > size, "the batch could have been larger"
            taken += len(batch)
        assert len(waiting) == len(model) <= messages_max
        assert waiting.size_bytes == sum(map(len, model))
        assert waiting.size_bytes <= bytes_max or len(waiting) == 1
        assert pushed == taken + len(waiting) + waiting.dropped

    assert drain(waiting) == list(model)
