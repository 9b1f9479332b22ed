"""A front over a fake replica on a real loopback port, and a channel to it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio
from google.protobuf.message import Message

from kvstore.api import Method, etcd_methods
from kvstore.server.grpc_front import GrpcFront
from tests.api.fake_replica import FakeReplica

__all__ = ["Fronted", "fronted", "refusal"]


@dataclass
class Fronted:
    front: GrpcFront
    replica: FakeReplica
    channel: grpc.aio.Channel
    port: int
    methods: Mapping[str, Method]

    def call(self, name: str, request: Message, **options):
        """The RPC of that name, for example ``KV/Put``."""
        method = self.methods[f"/etcdserverpb.{name}"]
        stub = self.channel.unary_unary(
            method.path,
            request_serializer=method.request_class.SerializeToString,
            response_deserializer=method.response_class.FromString,
        )
        return stub(request, **options)

    def call_raw(self, path: str, data: bytes):
        return self.channel.unary_unary(path)(data)


@asynccontextmanager
async def fronted(*, more_methods: tuple[Method, ...] = (), **options) -> AsyncIterator[Fronted]:
    replica = FakeReplica()
    methods = etcd_methods(replica) | {method.path: method for method in more_methods}
    front = GrpcFront(methods, **options)
    port = front.listen("127.0.0.1:0")
    await front.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Fronted(front, replica, channel, port, methods)
    finally:
        await front.stop(grace_s=0)


async def refusal(call) -> tuple[grpc.StatusCode, str]:
    """The status with which the call fails."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()
    raise AssertionError("it was answered")
