"""The front over a real port: answers, refusals, faults, limits, and what a hostile or clumsy peer may do."""

import asyncio
import logging

import grpc
import pytest
from kvproto.etcd.rpc_pb2 import (
    DeleteRangeResponse,
    MemberListRequest,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    ResponseHeader,
    StatusRequest,
)

from kvstore.api import ApiError, Method
from kvstore.mvcc.errors import Code
from kvstore.mvcc.validate import REQUEST_BYTES_MAX
from kvstore.server.grpc_front import MESSAGE_BYTES_MAX, GrpcFront
from tests.mvcc.helpers import delete, get, put, txn
from tests.server.fronts import Fronted, fronted, refusal
from tests.waiting import underway

HEADER = ResponseHeader(cluster_id=0xC1, member_id=1, raft_term=7, revision=2)


async def still_answers(served: Fronted) -> None:
    assert (await served.call("KV/Range", get(b"still"))).header.cluster_id == 0xC1
    assert served.front.in_flight == 0


def test_every_registered_method_is_on_the_wire():
    async def story() -> None:
        async with fronted() as served:
            key = b"\0\xff"
            assert await served.call("KV/Put", put(key, b"1")) == PutResponse(header=HEADER)
            assert (await served.call("KV/Range", get(key))).kvs[0].value == b"1"
            assert (await served.call("KV/Txn", txn(success=[get(key)]))).succeeded
            header_3 = ResponseHeader(cluster_id=0xC1, member_id=1, raft_term=7, revision=3)
            assert await served.call("KV/DeleteRange", delete(key)) == DeleteRangeResponse(header=header_3, deleted=1)
            assert (await served.call("Maintenance/Status", StatusRequest())).version == "3.4.0"
            assert (await served.call("Cluster/MemberList", MemberListRequest())).members[0].ID == 1

    asyncio.run(story())


@pytest.mark.parametrize("path", ["/etcdserverpb.KV/Compact", "/etcdserverpb.Watch/Watch", "/other.Service/Any"])
def test_what_is_not_registered_is_unimplemented(path):
    async def story() -> None:
        async with fronted() as served:
            code, _ = await refusal(served.call_raw(path, b""))
            assert code is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(story())


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_the_status_of_its_name(code):
    async def refuse(request, context):
        raise ApiError(code, "text: byte for byte ü")

    async def story() -> None:
        method = Method("/etcdserverpb.Test/Refuse", refuse, RangeRequest, RangeResponse)
        async with fronted(more_methods=(method,)) as served:
            assert await refusal(served.call("Test/Refuse", get(b"a"))) == (
                grpc.StatusCode[code.name],
                "text: byte for byte ü",
            )
            await still_answers(served)

    asyncio.run(story())


def test_a_fault_is_logged_and_the_client_learns_nothing_about_it(caplog):
    async def fail(request, context):
        raise ValueError("a secret")

    async def wrong_answer(request, context):
        return None

    async def story() -> None:
        methods = (
            Method("/etcdserverpb.Test/Fail", fail, RangeRequest, RangeResponse),
            Method("/etcdserverpb.Test/WrongAnswer", wrong_answer, RangeRequest, RangeResponse),
        )
        async with fronted(more_methods=methods) as served:
            for name in ("Test/Fail", "Test/WrongAnswer"):
                assert await refusal(served.call(name, get(b"a"))) == (
                    grpc.StatusCode.INTERNAL,
                    "kvstore: internal error; the server's log has the details",
                )
            await still_answers(served)

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())

    assert [record.getMessage() for record in caplog.records] == [
        "/etcdserverpb.Test/Fail failed",
        "/etcdserverpb.Test/WrongAnswer failed",
    ]
    assert "a secret" in caplog.text


def test_the_clients_metadata_and_timeout_reach_the_handler():
    contexts = []

    async def watch(request, context):
        contexts.append((context.requires_leader, context.timeout_s))
        return RangeResponse()

    async def story() -> None:
        method = Method("/etcdserverpb.Test/Watch", watch, RangeRequest, RangeResponse)
        async with fronted(more_methods=(method,)) as served:
            await served.call("Test/Watch", get(b"a"), metadata=(("hasleader", "true"),), timeout=60)
            await served.call("Test/Watch", get(b"a"))

    asyncio.run(story())

    (wants_leader, bounded), (wants_none, unbounded) = contexts
    assert wants_leader
    assert 0 < bounded < 61, "gRPC rounds up a little"
    assert not wants_none
    assert unbounded > 10**6


def test_without_a_leader_those_who_ask_are_told():
    async def story() -> None:
        async with fronted() as served:
            served.replica.leads = False
            call = served.call("KV/Put", put(b"a"), metadata=(("hasleader", "true"),))
            assert await refusal(call) == (grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader")

    asyncio.run(story())


# Malformed and oversize


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05abc", b"\x0a", b"\xff" * 100_000])
@pytest.mark.parametrize("name", ["KV/Range", "KV/Put", "KV/Txn", "Cluster/MemberList"])
def test_bytes_that_are_no_request_are_refused_cleanly(data, name, caplog):
    async def story() -> None:
        async with fronted() as served:
            code, text = await refusal(served.call_raw(f"/etcdserverpb.{name}", data))
            assert code is grpc.StatusCode.INTERNAL
            assert text.startswith("grpc: error unmarshalling request: ")
            assert served.replica.proposed == []
            await still_answers(served)

    asyncio.run(story())

    assert caplog.records == []


def test_a_transaction_nested_beyond_what_protobuf_parses_is_refused_cleanly():
    """Each level wraps the one before in TxnRequest.success and RequestOp.request_txn, both length-delimited."""
    data = b""
    for _ in range(500):
        for tag in (b"\x22", b"\x12"):
            length, size = len(data), b""
            while length > 127:
                size, length = size + bytes([length & 127 | 128]), length >> 7
            data = tag + size + bytes([length]) + data

    async def story() -> None:
        async with fronted() as served:
            code, _ = await refusal(served.call_raw("/etcdserverpb.KV/Txn", data))
            assert code is grpc.StatusCode.INTERNAL
            await still_answers(served)

    asyncio.run(story())


def test_a_request_above_etcds_limit_gets_etcds_words():
    async def story() -> None:
        async with fronted() as served:
            for value in (b"x" * REQUEST_BYTES_MAX, b"x" * (MESSAGE_BYTES_MAX - 100)):
                assert await refusal(served.call("KV/Put", put(b"a", value))) == (
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "etcdserver: request is too large",
                )
            await still_answers(served)

    asyncio.run(story())


def test_a_message_far_above_the_limit_is_refused_by_grpc():
    async def story() -> None:
        async with fronted() as served:
            code, _ = await refusal(served.call("KV/Put", put(b"a", b"x" * MESSAGE_BYTES_MAX)))
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            await still_answers(served)

    asyncio.run(story())


def test_the_largest_request_is_taken():
    async def story() -> None:
        async with fronted() as served:
            value = b"x" * (REQUEST_BYTES_MAX - 100)
            await served.call("KV/Put", put(b"a", value))
            channel = grpc.aio.insecure_channel(
                f"127.0.0.1:{served.port}", options=[("grpc.max_receive_message_length", -1)]
            )
            async with channel:
                answer = RangeResponse.FromString(
                    await channel.unary_unary("/etcdserverpb.KV/Range")(get(b"a").SerializeToString())
                )
            assert answer.kvs[0].value == value

    asyncio.run(story())


# Overload, timeouts, cancellation


def test_one_request_too_many_is_refused_and_the_others_are_answered():
    """At the limit, exactly what is in flight is answered, and room that becomes free is used again."""

    async def story() -> None:
        async with fronted(in_flight_max=3) as served:
            served.replica.go.clear()
            taken = [asyncio.ensure_future(_answer(served, b"%d" % i)) for i in range(3)]
            while served.replica.waiting < 3:
                served.replica.someone_waits.clear()
                await served.replica.someone_waits.wait()

            over = [refusal(served.call("KV/Put", put(b"over"))), refusal(served.call("KV/Range", get(b"over")))]
            assert (
                await asyncio.gather(*over)
                == [(grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: too many requests")] * 2
            )
            assert served.front.in_flight == 3

            served.replica.go.set()
            await asyncio.gather(*taken)
            await still_answers(served)
            assert len(served.replica.proposed) == 3

    asyncio.run(story())


async def _answer(served: Fronted, key: bytes) -> PutResponse:
    return await served.call("KV/Put", PutRequest(key=key))


@pytest.mark.parametrize("name", ["KV/Put", "KV/Range"])
def test_a_client_that_leaves_frees_its_place(name, caplog):
    async def story() -> None:
        async with fronted(in_flight_max=1) as served:
            served.replica.go.clear()
            call = served.call(name, put(b"a") if name == "KV/Put" else get(b"a"))
            await served.replica.someone_waits.wait()
            call.cancel()
            await served.replica.nobody_waits.wait()
            served.replica.go.set()
            await still_answers(served)

    asyncio.run(story())

    assert caplog.records == []


def test_a_client_whose_time_is_up_frees_its_place(caplog):
    async def story() -> None:
        async with fronted(in_flight_max=1) as served:
            served.replica.go.clear()
            code, _ = await refusal(served.call("KV/Put", put(b"a"), timeout=0.2))
            # Whoever notices first, the client or the server.
            assert code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
            if served.replica.proposed:
                await served.replica.nobody_waits.wait()
            served.replica.go.set()
            await still_answers(served)

    asyncio.run(story())

    assert caplog.records == []


def test_a_handler_that_answers_its_cancellation_with_an_error_does_no_harm(caplog):
    """A write that gave up waiting may say so though nobody listens any more."""

    async def story() -> None:
        entered, left = asyncio.Event(), asyncio.Event()

        async def stubborn(request, context):
            entered.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                left.set()
                raise ApiError(Code.UNAVAILABLE, "gave up") from None

        method = Method("/etcdserverpb.Test/Stubborn", stubborn, RangeRequest, RangeResponse)
        async with fronted(more_methods=(method,), in_flight_max=1) as served:
            call = served.call("Test/Stubborn", get(b"a"))
            await entered.wait()
            call.cancel()
            await left.wait()
            await still_answers(served)

    asyncio.run(story())

    assert caplog.records == []


# Connections


def test_pings_without_calls_are_answered_and_never_held_against_a_client():
    """A client that pings as fast as it can gets an answer to each ping, and no GOAWAY."""
    pings, ping_type, ack, goaway_type = 200, 6, 1, 7

    async def story() -> None:
        async with fronted() as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, b""))
            answered = 0
            for number in range(pings):
                writer.write(_frame(ping_type, 0, number.to_bytes(8, "big")))
                while answered <= number:
                    head = await reader.readexactly(9)
                    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                    assert head[3] != goaway_type, payload
                    if head[3] == ping_type and head[4] & ack:
                        assert payload == number.to_bytes(8, "big")
                        answered += 1
            writer.close()
            await writer.wait_closed()
            await still_answers(served)

    asyncio.run(story())


def _frame(frame_type: int, flags: int, payload: bytes) -> bytes:
    """An HTTP/2 frame of the connection (stream 0)."""
    return len(payload).to_bytes(3, "big") + bytes([frame_type, flags, 0, 0, 0, 0]) + payload


def test_a_taken_port_is_refused_by_name():
    async def story() -> None:
        async with fronted() as served:
            other = GrpcFront(served.methods)
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{served.port}"):
                other.listen(f"127.0.0.1:{served.port}")
            await other.stop(grace_s=0)

    asyncio.run(story())


def test_stopping_lets_requests_in_flight_finish():
    async def story() -> None:
        async with fronted() as served:
            served.replica.go.clear()
            asking = asyncio.ensure_future(_answer(served, b"last"))
            await served.replica.someone_waits.wait()
            stopping = asyncio.ensure_future(served.front.stop(grace_s=30))
            served.replica.go.set()
            assert (await asking).header.revision == 2
            await stopping

    asyncio.run(story())


def test_while_it_stops_new_requests_are_told_that_nothing_was_done_with_them():
    """They are not left to be cancelled unseen, which would tell a client nothing about its write."""

    async def story() -> None:
        async with fronted() as served:
            served.replica.go.clear()
            asking = asyncio.ensure_future(_answer(served, b"last"))
            await served.replica.someone_waits.wait()
            stopping = await underway(served.front.stop(grace_s=30))
            late = await refusal(_answer(served, b"too late"))
            assert late == (grpc.StatusCode.UNAVAILABLE, "etcdserver: not proposed: this node is stopping")
            served.replica.go.set()
            assert (await asking).header.revision == 2
            await stopping

    asyncio.run(story())
