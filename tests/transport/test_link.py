"""One lane to one peer, on real sockets: in order, bounded, and back as soon as the peer is."""

import asyncio
import dataclasses
import logging
from random import Random
from typing import Any

import grpc
import grpc.aio
import pytest
from kvproto import paxos_pb2 as pb

from kvstore.transport import link as link_module
from kvstore.transport.codec import encode
from kvstore.transport.handshake import Lane
from kvstore.transport.link import BACKOFF_MAX_S, BACKOFF_MIN_S, backoff_s
from kvstore.transport.wire import EOF
from tests.transport.peers import (
    ME,
    PEER,
    Conversation,
    Told,
    a_stranger,
    accept,
    forward,
    introduction,
    linked,
    listening,
    numbered,
)
from tests.waiting import until


@pytest.mark.parametrize("lane", Lane)
def test_messages_arrive_once_each_and_in_order(lane: Lane) -> None:
    """What was queued before the link was up arrives before what came later; a turn's messages share a frame."""

    async def story() -> None:
        async with listening() as (heard, address), linked(address, lane=lane) as told:
            told.send(*range(100))
            await until(lambda: len(heard.messages) == 100)
            for number in range(100, 300):
                told.send(number)
                if number % 10 == 0:
                    await until(lambda: not told.link.stats().queued_messages)
            await until(lambda: len(heard.messages) == 300)

            assert heard.messages == [(PEER, numbered(number)) for number in range(300)]
            assert heard.introduced == [introduction(lane=lane)]
            assert told.events == [("up", ME)]
            stats = told.link.stats()
            assert (stats.up, stats.queued_messages, stats.dropped_messages, stats.dials) == (True, 0, 0, 1)
            assert stats.messages_sent == 300
            assert stats.frames_sent == heard.batches < 50

    asyncio.run(story())


def test_a_link_comes_back_when_its_peer_does() -> None:
    """The loss is told once, the return once; what was sent meanwhile waits and arrives in order."""

    async def story() -> None:
        async with listening() as (heard, address), linked(address) as told:
            told.send(1)
            await until(lambda: heard.slots() == [1])

            await heard.listener.close(0)
            await until(lambda: told.events == [("up", ME), ("lost", ME)])
            assert not told.link.up
            told.send(2, 3)
            async with listening(port=int(address.rpartition(":")[2])) as (again, _):
                await until(lambda: again.slots() == [2, 3])
                assert told.events == [("up", ME), ("lost", ME), ("up", ME)]
                assert told.refusals == []

    asyncio.run(story())


def test_a_nudge_cuts_the_wait_for_the_next_dial_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that has just called is dialed at once, not after the rest of the wait."""
    monkeypatch.setattr(link_module, "backoff_s", lambda _attempt, _rng: 3600.0)

    async def story() -> None:
        async with listening() as (heard, address):
            await heard.listener.close(0)
            async with linked(address) as told:
                await until(lambda: "refused" in str(told.link._trouble))
                async with listening(port=int(address.rpartition(":")[2])):
                    told.link.nudge()
                    await until(lambda: told.link.up)
                    assert told.link.stats().dials == 2

    asyncio.run(story())


def test_nudges_do_not_make_a_link_dial_without_pause() -> None:
    """A peer that accepts, hangs up and calls again and again is dialed at the pace of the backoff."""
    links: list[Told] = []

    async def hang_up(context: Any) -> None:
        await context.read()
        await context.write(accept())
        links[0].link.nudge()

    async def story() -> None:
        async with a_stranger(hang_up) as address, linked(address) as told:
            links.append(told)
            await until(lambda: told.link.stats().dials >= 3)
            dials_before, started_at = told.link.stats().dials, asyncio.get_running_loop().time()
            await until(lambda: told.link.stats().dials >= dials_before + 6)
            waits_s = asyncio.get_running_loop().time() - started_at
            assert waits_s > BACKOFF_MIN_S * 2**4, f"6 dials within {waits_s:.3f} s"

    asyncio.run(story())


def test_waits_double_are_bounded_and_differ() -> None:
    """Jitter is half of each wait, so that nodes that lost one peer together do not dial it together."""
    rng = Random(5)
    for attempt in range(40):
        waits = [backoff_s(attempt, rng) for _ in range(100)]
        longest = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2**attempt)
        assert all(longest / 2 <= wait <= longest for wait in waits)
        assert max(waits) - min(waits) > longest / 4
    assert backoff_s(10_000, rng) <= BACKOFF_MAX_S


def test_a_refused_link_says_so_once_and_goes_on_trying() -> None:
    """The owner hears a reason once, another reason again, and the link gets in as soon as it may."""

    async def story() -> None:
        async with listening() as (heard, address), linked(address, cluster_id=b"\xdd" * 8) as told:
            await until(lambda: told.link.stats().dials >= 4)
            assert told.refusals == [
                "node 2 belongs to cluster dddddddddddddddd, this node to cluster c1c1c1c1c1c1c1c1"
            ]

            told.handshake = introduction(protocol_version=7)
            await until(lambda: len(told.refusals) == 2)
            assert told.refusals[1] == "node 2 speaks protocol version 7, this node 1"
            assert (told.events, heard.messages, told.link.up) == ([], [], False)

            told.handshake = introduction()
            told.send(1)
            await until(lambda: heard.slots() == [1])
            assert told.events == [("up", ME)]

    asyncio.run(story())


def test_an_address_that_leads_to_another_node_is_refused_by_the_dialer() -> None:
    """Even if the other side accepts: messages for node 1 do not go to node 5."""
    got: list[object] = []

    async def node_5(context: Any) -> None:
        await context.read()
        await context.write(accept(5))
        got.append(await context.read())

    async def story() -> None:
        async with a_stranger(node_5) as address, linked(address) as told:
            told.send(1)
            await until(lambda: told.refusals)
            assert told.refusals == [f"{address} should be node 1, but is node 5"]
            assert told.events == []
            assert told.link.stats().queued_messages == 1

    asyncio.run(story())
    assert [raw for raw in got if raw is not EOF] == []


async def _nonsense(context: Any) -> None:
    await context.read()
    await context.write(b"\xff\xff")


async def _no_answer(context: Any) -> None:
    await context.read()


async def _abort(context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "not today")


async def _answer_twice(context: Any) -> None:
    await context.read()
    await context.write(accept())
    await context.write(accept())
    await context.read()


@pytest.mark.parametrize(
    ("converse", "said"),
    [
        (_nonsense, "what listens there is no node: it answered with 2 bytes that are no reply"),
        (_no_answer, "closed without an answer: OK"),
        (_abort, "UNAVAILABLE"),
        (_answer_twice, "the peer answered twice"),
    ],
)
def test_whatever_the_other_side_does_the_link_goes_on_dialing(
    converse: Conversation, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what was wrong, nothing counts as a fault of ours, and no loss is told without a gain before."""

    async def story() -> None:
        async with a_stranger(converse) as address, linked(address) as told:
            await until(lambda: told.link.stats().dials >= 3)
            ups = [event for event in told.events if event == ("up", ME)]
            losses = [event for event in told.events if event == ("lost", ME)]
            assert len(ups) - len(losses) in (0, 1)

    with caplog.at_level(logging.INFO, logger="kvstore.transport.link"):
        asyncio.run(story())
    assert said in caplog.text
    assert "link to node 1 failed" not in caplog.text


def test_silence_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A peer that takes the call and says nothing is dialed anew after a while."""
    monkeypatch.setattr(link_module, "_DIAL_TIMEOUT_S", 0.05)

    async def silence(context: Any) -> None:
        await context.read()
        await context.read()

    async def story() -> None:
        async with a_stranger(silence) as address, linked(address) as told:
            await until(lambda: told.link.stats().dials >= 3)
            assert told.events == []

    with caplog.at_level(logging.INFO, logger="kvstore.transport.link"):
        asyncio.run(story())
    assert "no answer within 0.05 s" in caplog.text


def test_a_peer_learns_that_the_log_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol lane repeats its handshake with a sequence that grows, never ahead of what is durable (L11)."""
    monkeypatch.setattr(link_module, "_REFRESH_S", 0.0)

    async def story() -> None:
        async with listening() as (heard, address), linked(address, log_sequence=5) as told:
            for number in range(10):
                told.handshake = dataclasses.replace(told.handshake, log_sequence=10 + number)
                told.send(number)
                await until(lambda number=number: len(heard.messages) == number + 1)
                assert heard.sequences[PEER] <= 10 + number
            sequences = [handshake.log_sequence for handshake in heard.introduced]
            assert sequences == sorted(set(sequences))
            assert sequences[-1] >= 18
            assert told.events == [("up", ME)]

    asyncio.run(story())


def test_the_bulk_lane_may_come_in_behind_what_the_protocol_lane_has_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two connections keep no order. A bulk handshake that took its time must not look like a log that went back."""
    monkeypatch.setattr(link_module, "_REFRESH_S", 0.0)

    async def story() -> None:
        async with listening() as (heard, address), linked(address, log_sequence=5) as protocol:
            await until(lambda: protocol.link.up)
            under_way = introduction(lane=Lane.BULK, log_sequence=6)
            protocol.handshake = introduction(log_sequence=6)
            protocol.send(1)
            await until(lambda: heard.slots() == [1])
            protocol.handshake = introduction(log_sequence=7)
            protocol.send(2)
            await until(lambda: heard.slots() == [1, 2])

            assert heard.verify(under_way) is None

    asyncio.run(story())


def test_lanes_are_connections_of_their_own() -> None:
    """A bulk lane that is stuffed up delays no heartbeat."""

    async def story() -> None:
        bulk_stopped = asyncio.Event()

        async def converse(context: Any) -> None:
            lane = pb.Frame.FromString(await context.read()).handshake.lane
            connections.add(context.peer())
            await context.write(accept())
            if lane == pb.LANE_BULK:
                await bulk_stopped.wait()
                return
            while (raw := await context.read()) is not EOF:
                heard.extend(message.catch_up.from_slot for message in pb.Frame.FromString(raw).messages)

        heard: list[int] = []
        connections: set[str] = set()
        async with (
            a_stranger(converse) as address,
            linked(address, lane=Lane.BULK) as bulk,
            linked(address) as protocol,
        ):
            await until(lambda: bulk.link.up and protocol.link.up)
            for _ in range(10):
                bulk.link.send(encode(forward(b"x" * 4_000_000)))
            await until(lambda: bulk.link.stats().queued_messages < 10)
            protocol.send(1, 2, 3)
            await until(lambda: heard == [1, 2, 3])
            assert bulk.link.stats().queued_messages > 0
            assert len(connections) == 2
            bulk_stopped.set()

    asyncio.run(story())


def test_a_fault_of_its_owner_does_not_end_a_link(caplog: pytest.LogCaptureFixture) -> None:
    """A link that gave up in silence would be worse than one that says what failed and dials on."""

    class Broken:
        @property
        def lane(self) -> Lane:
            raise RuntimeError("a fault of ours")

    async def story() -> None:
        async with listening() as (heard, address), linked(address) as told:
            await until(lambda: told.link.up)
            good, told.handshake = told.handshake, Broken()  # type: ignore[assignment]
            await heard.listener.close(0)
            async with listening(port=int(address.rpartition(":")[2])) as (again, _):
                await until(lambda: "failed" in caplog.text)
                told.handshake = good
                told.send(1)
                await until(lambda: again.slots() == [1])

    asyncio.run(story())
    assert "protocol link to node 1 failed" in caplog.text
