"""What a link does at its limits: when it closes, when its peer is away, and when it is given too much."""

import asyncio
from typing import Any

import pytest
from kvproto import paxos_pb2 as pb

from kvstore.transport.codec import encode
from kvstore.transport.handshake import Lane
from kvstore.transport.wire import EOF, FRAME_BYTES_MAX
from tests.transport.peers import (
    ME,
    a_stranger,
    accept,
    forward,
    linked,
    listening,
    numbered,
)
from tests.waiting import until


def test_close_with_grace_sends_what_is_queued() -> None:
    """Everything that was queued is read by the peer before ``close`` returns, and no callback comes after it."""

    async def story() -> None:
        async with listening() as (heard, address), linked(address) as told:
            await until(lambda: told.link.up)
            told.send(*range(500))
            large = forward(b"x" * 1_000_000)
            for _ in range(12):
                told.link.send(encode(large))
            told.send(500)

            await told.link.close(20.0)

            assert [message for _, message in heard.messages] == [
                *map(numbered, range(500)),
                *[large] * 12,
                numbered(500),
            ]
            assert told.events == [("up", ME)]
            assert not told.link.up

    asyncio.run(story())


def test_close_does_not_wait_for_a_peer_that_is_not_there() -> None:
    """Grace is for what can still be sent: a link that is down closes at once, however much grace there is."""

    async def story() -> None:
        async with listening() as (heard, address):
            await heard.listener.close(0)
            async with linked(address) as told:
                told.send(1)
                await until(lambda: told.link.stats().dials >= 2)
                async with asyncio.timeout(10):
                    await told.link.close(3600)
                assert told.events == []
                assert told.link.stats().queued_messages == 1

    asyncio.run(story())


def test_close_gives_a_peer_that_does_not_read_its_grace_and_no_more() -> None:
    """A peer that is up but takes nothing cannot hold a closing node."""
    stop = asyncio.Event()

    async def deaf(context: Any) -> None:
        await context.read()
        await context.write(accept())
        await stop.wait()

    async def story() -> None:
        async with a_stranger(deaf) as address, linked(address) as told:
            await until(lambda: told.link.up)
            told.link.send(encode(forward(b"x" * 10_000_000)))
            async with asyncio.timeout(10):
                await told.link.close(0.1)
            assert not told.link.up
            assert told.events == [("up", ME)]
            stop.set()

    asyncio.run(story())


def test_a_link_that_never_started_can_be_closed() -> None:
    """Whatever stage a node's start reached, it can stop, and more than once."""

    async def story() -> None:
        async with listening() as (heard, address), linked(address, start=False) as told:
            told.send(1)
            await told.link.close(20.0)
            await told.link.close(20.0)
            assert (heard.introduced, told.events) == ([], [])

    asyncio.run(story())


@pytest.mark.parametrize(
    ("lane", "kept"), [(Lane.PROTOCOL, [*range(90, 100)]), (Lane.BULK, [*range(10)])], ids=["protocol", "bulk"]
)
def test_what_exceeds_the_bounds_is_dropped_and_counted(lane: Lane, kept: list[int]) -> None:
    """To a peer that is away only so much waits: the newest on the protocol lane, the oldest on the bulk lane."""

    async def story() -> None:
        async with listening() as (heard, address):
            await heard.listener.close(0)
            async with linked(address, lane=lane, messages_max=10) as told:
                told.send(*range(100))
                stats = told.link.stats()
                assert (stats.queued_messages, stats.dropped_messages) == (10, 90)
                assert stats.queued_bytes == sum(len(encode(numbered(number))) for number in kept)
                async with listening(port=int(address.rpartition(":")[2])) as (again, _):
                    await until(lambda: len(again.messages) == 10)
                    assert again.slots() == kept
                    assert told.link.stats().dropped_messages == 90

    asyncio.run(story())


def test_a_peer_that_reads_slowly_costs_a_bounded_amount_of_memory() -> None:
    """Under overload the queue stays within its bounds, drops are counted, and what arrives is in order."""
    release = asyncio.Event()
    frames: list[bytes] = []

    async def slow(context: Any) -> None:
        await context.read()
        await context.write(accept())
        await release.wait()
        while (raw := await context.read()) is not EOF:
            frames.append(raw)

    async def story() -> None:
        async with a_stranger(slow) as address, linked(address, bytes_max=1_000_000) as told:
            await until(lambda: told.link.up)
            for number in range(200):
                told.link.send(encode(forward(number.to_bytes(4, "big") * 25_000)))
                if number == 0:
                    await until(lambda: not told.link.stats().queued_messages)  # it is under way, and unread
                assert told.link.stats().queued_bytes <= 1_000_000
            stats = told.link.stats()
            assert stats.dropped_messages > 100
            release.set()
            await told.link.close(20.0)
            messages = [message for raw in frames for message in pb.Frame.FromString(raw).messages]
            arrived = [message.forward.batch.entries[0].put.value[:4] for message in messages]
            assert arrived == sorted(set(arrived))
            assert arrived[-1] == (199).to_bytes(4, "big"), "the newest counts most"
            assert len(arrived) + told.link.stats().dropped_messages == 200

    asyncio.run(story())


def test_a_message_that_no_frame_holds_is_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """It would only break the stream, again and again; the link stays up and the rest arrives."""

    async def story() -> None:
        async with listening() as (heard, address), linked(address) as told:
            await until(lambda: told.link.up)
            told.link.send(b"x" * FRAME_BYTES_MAX)
            told.send(1)
            await until(lambda: heard.slots() == [1])
            assert told.link.stats().dropped_messages == 1
            assert told.events == [("up", ME)]

    asyncio.run(story())
    assert f"drops a message of {FRAME_BYTES_MAX} bytes to node 1" in caplog.text
