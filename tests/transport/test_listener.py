"""The peer port among friends and strangers: whatever one of them does, the others are heard."""

import asyncio
import contextlib
import logging

import grpc
import pytest
from kvproto import paxos_pb2 as pb

from kvstore.paxos.types import NodeId
from kvstore.transport.codec import encode, encode_frame
from kvstore.transport.handshake import Lane, handshake_to_wire
from kvstore.transport.wire import EOF, HELLO_METHOD
from tests.transport.peers import (
    ME,
    PEER,
    THIRD,
    Heard,
    ending,
    first_frame,
    introduce,
    introduction,
    linked,
    listening,
    numbered,
    raw_stream,
)
from tests.waiting import until


async def still_hears(heard: Heard, address: str) -> None:
    """A node that did nothing wrong gets in and is heard, whatever went on before."""
    async with linked(address, node_id=THIRD, birth_id=bytes([THIRD]) * 16) as third:
        third.send(77)
        await until(lambda: heard.slots(THIRD)[-1:] == [77])


def test_what_a_stream_says_is_heard_in_order_and_under_its_name() -> None:
    """Frames come one by one, in their order; the sender is who introduced itself."""

    async def story() -> None:
        async with listening() as (heard, address), raw_stream(address) as call:
            assert await introduce(call) == pb.HandshakeReply(accepted=True, node_id=ME, incarnation=1)
            await call.write(encode_frame([encode(numbered(1)), encode(numbered(2))]))
            await call.write(encode_frame([encode(numbered(3))]))
            await call.done_writing()

            assert await call.read() is EOF
            assert await ending(call) == (grpc.StatusCode.OK, "")
            assert heard.messages == [(PEER, numbered(1)), (PEER, numbered(2)), (PEER, numbered(3))]
            assert heard.introduced == [introduction()]
            await until(lambda: heard.lost == [PEER])

    asyncio.run(story())


def test_before_the_cluster_has_formed_callers_are_told_to_come_again(caplog: pytest.LogCaptureFixture) -> None:
    """That is no refusal: whoever dials tries on, and nobody is warned."""

    async def story() -> None:
        async with listening(member=False) as (heard, address):
            async with raw_stream(address) as call:
                await call.write(first_frame())
                assert await ending(call) == (grpc.StatusCode.UNAVAILABLE, "node 1 belongs to no cluster yet")
            assert heard.introduced == []
            async with linked(address) as told:
                await until(lambda: told.link.stats().dials > 1)
                heard.listener.take_streams()
                await until(lambda: told.link.up)
            assert told.refusals == []

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert not caplog.records


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"cluster_id": b"\xdd" * 8},
            "node 2 belongs to cluster dddddddddddddddd, this node to cluster c1c1c1c1c1c1c1c1",
        ),
        ({"to_node_id": NodeId(3)}, "node 2 wants node 3, but reached node 1"),
        ({"birth_id": b"x" * 16}, "its data directory was wiped or replaced (L11)"),
        ({"node_id": NodeId(9)}, "node 9 is not a member"),
        ({"protocol_version": 2}, "node 2 speaks protocol version 2, this node 1"),
    ],
)
def test_a_refused_caller_gets_the_reason_and_is_not_heard(changes: dict[str, object], said: str) -> None:
    """The reason is the answer, the stream ends, what is sent all the same is not heard, and life goes on."""

    async def story() -> None:
        async with listening() as (heard, address):
            async with raw_stream(address) as call:
                await call.write(first_frame(**changes))
                reply = pb.HandshakeReply.FromString(await call.read())
                assert not reply.accepted
                assert said in reply.reason
                assert await call.read() is EOF
                with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await call.write(encode_frame([encode(numbered(1))]))
            await still_hears(heard, address)
            assert heard.slots() == []
            assert [handshake.node_id for handshake in heard.introduced] == [THIRD]
            assert PEER not in heard.lost

    asyncio.run(story())


def test_an_older_incarnation_and_a_shorter_log_are_refused() -> None:
    """Once a process has been here, none before it is; once a log has been shown, none shorter is (L11)."""

    async def story() -> None:
        async with listening() as (heard, address):
            async with raw_stream(address) as call:
                assert (await introduce(call, incarnation=5, log_sequence=100)).accepted
            async with raw_stream(address) as call:
                reply = await introduce(call, incarnation=4, log_sequence=100)
                assert reply.reason == "node 2 comes with incarnation 4, but incarnation 5 of it was here already"
            async with raw_stream(address) as call:
                reply = await introduce(call, incarnation=6, log_sequence=99)
                assert "it had 100, now says 99 (L11)" in reply.reason
            await still_hears(heard, address)

    asyncio.run(story())


GARBAGE = {
    "no frame": (b"\xff\xff garbage", "10 bytes are not a frame"),
    "nothing": (b"", "a stream begins with a handshake"),
    "messages without handshake": (encode_frame([encode(numbered(1))]), "a stream begins with a handshake"),
    "messages with the handshake": (first_frame(numbered(1)), "1 messages came with the handshake, before it was"),
    "nobody": (first_frame(node_id=NodeId(0)), "node 0, which is nobody"),
    "a log beyond the disk": (first_frame(log_sequence=2**63), "log_sequence 9223372036854775808, above"),
}


@pytest.mark.parametrize(("raw", "said"), GARBAGE.values(), ids=GARBAGE)
def test_a_stream_that_begins_with_garbage_is_closed_with_the_reason(raw: bytes, said: str) -> None:
    """It harms neither the node nor other streams, and nothing of it is heard."""

    async def story() -> None:
        async with listening() as (heard, address):
            async with raw_stream(address) as call:
                await call.write(raw)
                code, details = await ending(call)
                assert code is grpc.StatusCode.INVALID_ARGUMENT
                assert said in details
            await still_hears(heard, address)
            assert heard.slots() == []

    asyncio.run(story())


LATER_GARBAGE = {
    "no frame": (b"\xff", "are not a frame"),
    "a message of no kind": (encode_frame([b""]), "a message of no known kind"),
    "a good message before a bad one": (encode_frame([encode(numbered(2)), b""]), "a message of no known kind"),
    "another name": (
        encode_frame((), handshake=handshake_to_wire(introduction(node_id=THIRD))),
        "a stream that began with node_id 2 goes on with 3",
    ),
    "another cluster": (
        encode_frame((), handshake=handshake_to_wire(introduction(cluster_id=b"\xdd" * 8))),
        "a stream that began with cluster_id c1c1c1c1c1c1c1c1 goes on with dddddddddddddddd",
    ),
    "another incarnation": (
        encode_frame((), handshake=handshake_to_wire(introduction(incarnation=2))),
        "a stream that began with incarnation 1 goes on with 2",
    ),
    "a log that went back": (
        encode_frame((), handshake=handshake_to_wire(introduction(log_sequence=9))),
        "its log went back from 10 to 9 (L11)",
    ),
}


@pytest.mark.parametrize(("raw", "said"), LATER_GARBAGE.values(), ids=LATER_GARBAGE)
def test_a_stream_that_goes_on_with_garbage_is_closed_with_the_reason(raw: bytes, said: str) -> None:
    """What came before counts, nothing of the bad frame does, and the peer may come back."""

    async def story() -> None:
        async with listening() as (heard, address):
            async with raw_stream(address) as call:
                assert (await introduce(call, log_sequence=10)).accepted
                await call.write(encode_frame([encode(numbered(1))]))
                await until(lambda: heard.slots() == [1])
                await call.write(raw)
                code, details = await ending(call)
                assert code is grpc.StatusCode.INVALID_ARGUMENT
                assert said in details
            assert heard.slots() == [1]
            await until(lambda: heard.lost == [PEER])
            await still_hears(heard, address)
            async with raw_stream(address) as call:
                assert (await introduce(call, log_sequence=10)).accepted

    asyncio.run(story())


def test_a_reason_of_any_length_reaches_the_peer() -> None:
    """A reason that quotes an endless list is cut, for a status that is too long would not arrive at all."""
    wire = pb.PeerMessage()
    wire.accept.ballot.round = wire.accept.ballot.node_id = 1
    wire.accept.value.configuration.voters.extend(range(50_000, 0, -1))

    async def story() -> None:
        async with listening() as (heard, address):
            async with raw_stream(address) as call:
                assert (await introduce(call)).accepted
                await call.write(encode_frame([wire.SerializeToString()]))
                code, details = await ending(call)
                assert code is grpc.StatusCode.INVALID_ARGUMENT
                assert details.startswith("voters must be some, sorted and distinct: (50000, 49999")
                assert len(details) <= 1000
            await still_hears(heard, address)

    asyncio.run(story())


def test_who_says_nothing_is_not_waited_for() -> None:
    """A stream without a handshake holds a place for a bounded time only."""

    async def story() -> None:
        async with listening(introduction_timeout_s=0.05) as (heard, address):
            async with raw_stream(address) as call:
                assert await ending(call) == (grpc.StatusCode.DEADLINE_EXCEEDED, "no handshake came")
            await still_hears(heard, address)

    asyncio.run(story())


def test_who_leaves_without_a_word_leaves_nothing_behind() -> None:
    """An empty stream is no event."""

    async def story() -> None:
        async with listening() as (heard, address):
            async with raw_stream(address) as call:
                await call.done_writing()
                assert await ending(call) == (grpc.StatusCode.OK, "")
            assert (heard.introduced, heard.lost) == ([], [])
            await still_hears(heard, address)

    asyncio.run(story())


def test_a_newer_stream_of_a_lane_replaces_the_older() -> None:
    """Only the newest is heard, and the peer is not reported lost while it is there."""

    async def story() -> None:
        async with listening() as (heard, address), raw_stream(address) as old:
            assert (await introduce(old)).accepted
            async with raw_stream(address) as new:
                assert (await introduce(new)).accepted
                code, details = await ending(old)
                assert code is grpc.StatusCode.ABORTED
                assert details == "replaced by a newer stream, of incarnation 1"
                await new.write(encode_frame([encode(numbered(1))]))
                await until(lambda: heard.slots() == [1])
                assert heard.lost == []
            await until(lambda: heard.lost == [PEER])

    asyncio.run(story())


def test_streams_that_replace_each_other_at_once_all_end_but_one() -> None:
    """However early a stream is replaced, even while it is being accepted, its peer learns it and none hangs."""

    async def story() -> None:
        async with listening() as (heard, address), contextlib.AsyncExitStack() as stack:
            calls = [await stack.enter_async_context(raw_stream(address)) for _ in range(30)]
            assert all(reply.accepted for reply in await asyncio.gather(*map(introduce, calls)))
            endings = [asyncio.create_task(ending(call)) for call in calls]
            await until(lambda: sum(each.done() for each in endings) == len(calls) - 1)

            replaced = (grpc.StatusCode.ABORTED, "replaced by a newer stream, of incarnation 1")
            assert [each.result() for each in endings if each.done()] == [replaced] * (len(calls) - 1)
            newest = calls[[each.done() for each in endings].index(False)]
            await newest.write(encode_frame([encode(numbered(1))]))
            await until(lambda: heard.slots() == [1])
            assert heard.lost == []
            await newest.done_writing()
            await asyncio.gather(*endings)

    asyncio.run(story())


def test_lanes_do_not_replace_each_other() -> None:
    """Both lanes of one process are heard side by side; only the protocol lane's end loses the peer."""

    async def story() -> None:
        async with listening() as (heard, address), raw_stream(address) as protocol:
            assert (await introduce(protocol)).accepted
            async with raw_stream(address) as bulk:
                assert (await introduce(bulk, lane=Lane.BULK)).accepted
                await bulk.write(encode_frame([encode(numbered(1))]))
                await until(lambda: heard.slots() == [1])
                await protocol.write(encode_frame([encode(numbered(2))]))
                await until(lambda: heard.slots() == [1, 2])
                await bulk.done_writing()
                assert await ending(bulk) == (grpc.StatusCode.OK, "")
            assert heard.lost == []
            await protocol.write(encode_frame([encode(numbered(3))]))
            await until(lambda: heard.slots() == [1, 2, 3])

    asyncio.run(story())


def test_a_restarted_peer_silences_all_that_its_former_process_said() -> None:
    """One stream of the new incarnation ends both lanes of the old one."""

    async def story() -> None:
        async with listening() as (heard, address), raw_stream(address) as protocol, raw_stream(address) as bulk:
            assert (await introduce(protocol)).accepted
            assert (await introduce(bulk, lane=Lane.BULK)).accepted
            async with raw_stream(address) as restarted:
                assert (await introduce(restarted, incarnation=2)).accepted
                for old in (protocol, bulk):
                    code, details = await ending(old)
                    assert (code, details) == (
                        grpc.StatusCode.ABORTED,
                        "replaced by a newer stream, of incarnation 2",
                    )
                assert heard.lost == []

    asyncio.run(story())


def test_a_stream_that_breaks_off_loses_the_peer_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """A cancelled call and a closed connection are everyday matters: no error in the log, and on it goes."""

    async def story() -> None:
        async with listening() as (heard, address):
            for times in (1, 2):
                async with raw_stream(address) as call:
                    assert (await introduce(call)).accepted
                await until(lambda times=times: heard.lost == [PEER] * times)
            await still_hears(heard, address)

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert caplog.records == []


def test_a_listener_that_closes_tells_its_peers_why() -> None:
    """Streams end with a reason, and the end of our own doing is no loss of a peer."""

    async def story() -> None:
        async with listening() as (heard, address), raw_stream(address) as call:
            assert (await introduce(call)).accepted
            await heard.listener.close(5.0)
            assert await ending(call) == (grpc.StatusCode.ABORTED, "this node shuts down")
            assert heard.lost == []

    asyncio.run(story())


def test_two_listeners_cannot_share_a_port() -> None:
    """The second is told so; nothing is shared in silence."""

    async def story() -> None:
        async with listening() as (_, address):
            with pytest.raises(OSError, match=f"cannot listen for peers on {address}"):
                async with listening(port=int(address.rpartition(":")[2])):
                    pass

    asyncio.run(story())


def test_a_hello_is_answered_and_a_malformed_one_refused() -> None:
    """Hello needs no handshake: it is how nodes come to know each other."""
    asked: list[pb.HelloRequest] = []

    def answer(request: pb.HelloRequest) -> pb.HelloReply:
        asked.append(request)
        return pb.HelloReply(node_id=ME, peers="1=a:1")

    async def story() -> None:
        async with listening(answer_hello=answer) as (heard, address):
            async with grpc.aio.insecure_channel(address) as channel:
                hello = channel.unary_unary(HELLO_METHOD)
                raw = await hello(pb.HelloRequest(node_id=2).SerializeToString())
                assert pb.HelloReply.FromString(raw) == pb.HelloReply(node_id=ME, peers="1=a:1")
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await hello(b"\xff")
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert refused.value.details() == "malformed HelloRequest"
            assert asked == [pb.HelloRequest(node_id=2)]
            await still_hears(heard, address)

    asyncio.run(story())
