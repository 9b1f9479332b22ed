"""Nonsense on a running cluster: the exact error where one is due, and every node goes on as if nothing had been."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from kvclient import Client
from kvproto import paxos_pb2 as pb
from kvproto.etcd import rpc_pb2 as rpc

from kvstore.mvcc.validate import REQUEST_BYTES_MAX
from kvstore.server.local_cluster import LocalCluster
from kvstore.server.processes import wait_until
from tests.e2e.clusters import WAIT_S, statuses

pytestmark = pytest.mark.e2e

Refusal = tuple[grpc.StatusCode, str]


@pytest.fixture(autouse=True)
def unharmed(steady_cluster: LocalCluster, through_steady: Mapping[int, Client]) -> Iterator[None]:
    """After every test: the same processes, all that was written is there, and they serve."""
    cluster = steady_cluster
    processes = [cluster.process(i) for i in cluster.node_ids]
    through_steady[1].put("before", "nonsense")
    yield
    for client in through_steady.values():
        assert client.get("before").value == b"nonsense"  # type: ignore[union-attr]
        client.put("after", "nonsense")
    assert [cluster.process(i) for i in cluster.node_ids] == processes
    assert all(map(cluster.is_alive, cluster.node_ids))
    assert not any("Traceback" in cluster.log_path(i).read_text() for i in cluster.node_ids)


@pytest.fixture(params=[1, 2, 3], ids="node {}".format)
def channel(request: pytest.FixtureRequest, steady_cluster: LocalCluster) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(steady_cluster.endpoint(request.param)) as channel:
        yield channel


def call(channel: grpc.Channel, method: str, request: Any) -> bytes:
    data = request if isinstance(request, bytes) else request.SerializeToString()
    return channel.unary_unary(f"/etcdserverpb.{method}", None, None)(data, timeout=30)  # type: ignore[no-any-return]


def refusal(channel: grpc.Channel, method: str, request: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, method, request)
    return refused.value.code(), refused.value.details()


def put_of(size: int) -> rpc.PutRequest:
    """A put that is exactly so large on the wire."""
    request = rpc.PutRequest(key=b"large", value=b"x" * (size - 20))
    request.value += b"x" * (size - request.ByteSize())
    assert request.ByteSize() == size
    return request


def txn_of(operations: int) -> rpc.TxnRequest:
    puts = [rpc.PutRequest(key=f"many/{number}".encode(), value=b"x") for number in range(operations)]
    return rpc.TxnRequest(success=[rpc.RequestOp(request_put=put) for put in puts])


INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("method", "request_", "text"),
    [
        ("KV/Put", rpc.PutRequest(value=b"x"), "etcdserver: key is not provided"),
        ("KV/Range", rpc.RangeRequest(), "etcdserver: key is not provided"),
        ("KV/DeleteRange", rpc.DeleteRangeRequest(), "etcdserver: key is not provided"),
        ("KV/Txn", rpc.TxnRequest(compare=[rpc.Compare()]), "etcdserver: key is not provided"),
        (
            "KV/Txn",
            rpc.TxnRequest(success=[rpc.RequestOp(request_put=rpc.PutRequest(value=b"x"))]),
            "etcdserver: key is not provided",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" in value else "",
)
def test_empty_keys(channel: grpc.Channel, method: str, request_: Any, text: str) -> None:
    assert refusal(channel, method, request_) == (INVALID, text)


def test_requests_around_the_largest_size(channel: grpc.Channel) -> None:
    for size in (REQUEST_BYTES_MAX - 1, REQUEST_BYTES_MAX):
        call(channel, "KV/Put", put_of(size))
        found = rpc.RangeResponse.FromString(call(channel, "KV/Range", rpc.RangeRequest(key=b"large")))
        assert found.kvs[0].value == put_of(size).value

    too_large = (INVALID, "etcdserver: request is too large")
    assert refusal(channel, "KV/Put", put_of(REQUEST_BYTES_MAX + 1)) == too_large
    wide = rpc.TxnRequest(success=[rpc.RequestOp(request_put=put_of(REQUEST_BYTES_MAX))])
    assert refusal(channel, "KV/Txn", wide) == too_large
    found = rpc.RangeResponse.FromString(call(channel, "KV/Range", rpc.RangeRequest(key=b"large")))
    assert found.kvs[0].value == put_of(REQUEST_BYTES_MAX).value, "what was refused was not done"


def test_requests_far_beyond_the_largest_size(channel: grpc.Channel) -> None:
    """gRPC throws these away before anybody sees them, and says so."""
    code, text = refusal(channel, "KV/Put", put_of(8 * REQUEST_BYTES_MAX))

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in text


def test_transactions_around_the_most_operations(channel: grpc.Channel) -> None:
    answer = rpc.TxnResponse.FromString(call(channel, "KV/Txn", txn_of(128)))
    assert len(answer.responses) == 128

    assert refusal(channel, "KV/Txn", txn_of(129)) == (INVALID, "etcdserver: too many operations in txn request")


def test_other_requests_that_make_no_sense(channel: grpc.Channel) -> None:
    future = rpc.RangeRequest(key=b"before", revision=2**40)
    twice = rpc.TxnRequest(success=[rpc.RequestOp(request_put=rpc.PutRequest(key=b"k"))] * 2)

    assert refusal(channel, "KV/Range", future) == (
        grpc.StatusCode.OUT_OF_RANGE,
        "etcdserver: mvcc: required revision is a future revision",
    )
    assert refusal(channel, "KV/Txn", twice) == (INVALID, "etcdserver: duplicate key given in txn request")
    assert refusal(channel, "KV/Put", rpc.PutRequest(key=b"k", lease=7)) == (
        grpc.StatusCode.NOT_FOUND,
        "etcdserver: requested lease not found",
    )
    assert refusal(channel, "KV/Put", rpc.PutRequest(key=b"absent", ignore_value=True)) == (
        INVALID,
        "etcdserver: key not found",
    )
    empty = rpc.RangeResponse.FromString(call(channel, "KV/Range", rpc.RangeRequest(key=b"z", range_end=b"a")))
    assert (len(empty.kvs), empty.count) == (0, 0), "an inverted range is empty, no error"


@pytest.mark.parametrize("method", ["KV/Put", "KV/Range", "KV/Txn", "Maintenance/Status", "Cluster/MemberList"])
def test_bytes_that_are_no_message(channel: grpc.Channel, method: str) -> None:
    for garbage in (b"\xff" * 64, b"\x0a\xff\xff\xff\xff\x0f", os.urandom(512) + b"\x0a\x7f"):
        code, text = refusal(channel, method, garbage)
        assert code is grpc.StatusCode.INTERNAL
        assert text.startswith("grpc: error unmarshalling request: ")


@pytest.mark.parametrize("method", ["KV/Frobnicate", "Nobody/Put", ""])
def test_unknown_methods(channel: grpc.Channel, method: str) -> None:
    code, _ = refusal(channel, method, b"")

    assert code is grpc.StatusCode.UNIMPLEMENTED


def test_keys_and_values_are_any_bytes(channel: grpc.Channel) -> None:
    for key in (b"\x00", b"\xff", b"\xff\xfe\x00", bytes(range(256)), "ключ/🔑".encode()):
        value = key[::-1] + b"\x00"
        call(channel, "KV/Put", rpc.PutRequest(key=key, value=value))
        (kv,) = rpc.RangeResponse.FromString(call(channel, "KV/Range", rpc.RangeRequest(key=key))).kvs
        assert (kv.key, kv.value) == (key, value)
        call(channel, "KV/DeleteRange", rpc.DeleteRangeRequest(key=key))


@pytest.mark.parametrize("port", ["client", "peer"])
@pytest.mark.parametrize(
    "bytes_",
    [
        b"GET / HTTP/1.1\r\nHost: somebody\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 4096,
        bytes(range(256)) * 64,
        b"",
    ],
    ids=["HTTP/1.1", "TLS", "HTTP/2, then garbage", "garbage", "silence"],
)
def test_other_protocols_on_a_port(steady_cluster: LocalCluster, port: str, bytes_: bytes) -> None:
    for node_id in steady_cluster.node_ids:
        host, _, number = steady_cluster.endpoint(node_id).rpartition(":")
        connection = socket.create_connection((host, int(number) + (port == "peer")), timeout=30)
        with connection, contextlib.suppress(OSError):  # it may hang up at any moment
            connection.sendall(bytes_)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass


@pytest.fixture(params=[1, 2, 3], ids="node {}".format)
def peer_channel(request: pytest.FixtureRequest, steady_cluster: LocalCluster) -> Iterator[tuple[int, grpc.Channel]]:
    host, _, number = steady_cluster.endpoint(request.param).rpartition(":")
    with grpc.insecure_channel(f"{host}:{int(number) + 1}") as channel:
        yield request.param, channel


def handshake(**fields: Any) -> pb.Handshake:
    told = {"protocol_version": 1, "cluster_id": b"another!", "node_id": 2, "birth_id": b"b" * 16, "incarnation": 1}
    return pb.Handshake(**{**told, "to_node_id": 1, "lane": pb.LANE_PROTOCOL, **fields})


def link(channel: grpc.Channel, *frames: bytes) -> list[pb.HandshakeReply]:
    method = channel.stream_stream("/kvstore.paxos.v1.Peer/Link", None, pb.HandshakeReply.FromString)
    return list(method(iter(frames), timeout=30))


@pytest.mark.parametrize(
    "frame", [b"\xff" * 100, pb.Frame().SerializeToString(), b"\x0a\x02\x08"], ids=["garbage", "nothing", "cut short"]
)
def test_a_stream_that_does_not_introduce_itself(peer_channel: tuple[int, grpc.Channel], frame: bytes) -> None:
    _, channel = peer_channel

    with pytest.raises(grpc.RpcError) as refused:
        link(channel, frame)

    assert refused.value.code() is INVALID


def test_a_handshake_of_another_cluster(peer_channel: tuple[int, grpc.Channel]) -> None:
    node_id, channel = peer_channel

    (reply,) = link(channel, pb.Frame(handshake=handshake(to_node_id=node_id)).SerializeToString())

    assert not reply.accepted
    assert reply.reason.startswith(f"node 2 belongs to cluster {b'another!'.hex()}, this node to cluster ")


def test_handshakes_of_this_cluster_that_are_wrong(peer_channel: tuple[int, grpc.Channel]) -> None:
    """Each names both values; the true peer, whose name it takes in vain, stays connected."""
    node_id, channel = peer_channel
    other = node_id % 3 + 1
    hello = channel.unary_unary("/kvstore.paxos.v1.Peer/Hello", None, pb.HelloReply.FromString)
    known = hello(pb.HelloRequest(protocol_version=1, node_id=other).SerializeToString(), timeout=30)
    births = {birth.node_id: birth.birth_id for birth in known.known}

    def reason(**fields: Any) -> str:
        told = {"cluster_id": known.cluster_id, "node_id": other, "birth_id": births[other], "to_node_id": node_id}
        (reply,) = link(channel, pb.Frame(handshake=handshake(**{**told, **fields})).SerializeToString())
        assert not reply.accepted
        return reply.reason

    assert reason(protocol_version=99) == f"node {other} speaks protocol version 99, this node 1"
    assert reason(to_node_id=9) == f"node {other} wants node 9, but reached node {node_id}"
    assert reason(node_id=9) == "node 9 is not a member: the configuration has nodes 1, 2, 3"
    assert reason(node_id=node_id) == f"node {node_id} calls node {node_id}: two nodes run under one id"
    wiped = reason(birth_id=b"\x01" * 16)
    assert births[other].hex() in wiped
    assert (b"\x01" * 16).hex() in wiped
    assert reason(incarnation=0).startswith(f"node {other} comes with incarnation 0, but incarnation ")


def test_a_hello_that_is_none(peer_channel: tuple[int, grpc.Channel]) -> None:
    _, channel = peer_channel

    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/kvstore.paxos.v1.Peer/Hello")(b"\xff" * 10, timeout=30)

    assert (refused.value.code(), refused.value.details()) == (INVALID, "malformed HelloRequest")


def test_health_is_served_for_the_server_and_each_of_its_services(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)

    for service in ("", "etcdserverpb.KV", "etcdserverpb.Maintenance", "etcdserverpb.Cluster"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_what_there_is(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")

    (answer,) = stub.ServerReflectionInfo(iter([question]), timeout=30)

    names = {service.name for service in answer.list_services_response.service}
    assert {"etcdserverpb.KV", "etcdserverpb.Cluster", "etcdserverpb.Maintenance", "grpc.health.v1.Health"} <= names


def test_nodes_agree_after_all_of_this(steady_cluster: LocalCluster) -> None:
    def agree() -> bool:
        found = statuses(steady_cluster).values()
        return len(found) == 3 and len({(status.raftAppliedIndex, status.header.revision) for status in found}) == 1

    assert wait_until(agree, timeout_s=WAIT_S)
