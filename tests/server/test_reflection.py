"""Reflection describes the services by the names that they have on the wire, completely enough to call them."""

import asyncio

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.server.fronts import Fronted, fronted

SERVICES = [
    "etcdserverpb.Cluster",
    "etcdserverpb.KV",
    "etcdserverpb.Maintenance",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
]


async def ask(served: Fronted, **question) -> reflection_pb2.ServerReflectionResponse:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**question)]))
    return await call.read()


async def pool_of(served: Fronted, symbol: str) -> DescriptorPool:
    """What a reflection client knows after asking for the symbol."""
    answer = await ask(served, file_containing_symbol=symbol)
    pool = DescriptorPool()
    for data in answer.file_descriptor_response.file_descriptor_proto:
        pool.Add(FileDescriptorProto.FromString(data))
    return pool


def test_the_services_are_listed_and_each_is_described():
    async def story() -> None:
        async with fronted() as served:
            answer = await ask(served, list_services="")
            assert [service.name for service in answer.list_services_response.service] == SERVICES
            for name in SERVICES:
                assert (await pool_of(served, name)).FindServiceByName(name).methods

    asyncio.run(story())


def test_a_client_that_knows_only_reflection_can_put_and_get():
    async def story() -> None:
        async with fronted() as served:
            kv = (await pool_of(served, "etcdserverpb.KV")).FindServiceByName("etcdserverpb.KV")
            assert [(m.name, m.input_type.full_name, m.output_type.full_name) for m in kv.methods] == [
                (name, f"etcdserverpb.{name}Request", f"etcdserverpb.{name}Response")
                for name in ("Range", "Put", "DeleteRange", "Txn")
            ]

            async def call(name: str, **fields):
                method = kv.methods_by_name[name]
                request = GetMessageClass(method.input_type)(**fields)
                data = await served.call_raw(f"/{kv.full_name}/{name}", request.SerializeToString())
                return GetMessageClass(method.output_type).FromString(data)

            assert (await call("Put", key=b"a", value=b"1")).header.revision == 2
            assert (await call("Range", key=b"a")).kvs[0].value == b"1"

    asyncio.run(story())


def test_an_unknown_symbol_is_not_found():
    async def story() -> None:
        async with fronted() as served:
            assert (await ask(served, file_containing_symbol="etcdserverpb.Nothing")).error_response.error_code == 5

    asyncio.run(story())
