"""The health service: what it answers, and that all who watch hear of every lasting change."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kvstore.server import health
from tests.server.fronts import fronted, refusal

Response = health_pb2.HealthCheckResponse


def request(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize("service", ["", "etcdserverpb.KV", "etcdserverpb.Maintenance", "etcdserverpb.Cluster"])
def test_it_is_green_only_while_it_serves(service):
    async def story() -> None:
        async with fronted() as served:
            stub = health_pb2_grpc.HealthStub(served.channel)
            seen = [(await stub.Check(request(service))).status]
            for serving in (True, False):
                served.front.set_serving(serving)
                seen.append((await stub.Check(request(service))).status)
            assert seen == [Response.NOT_SERVING, Response.SERVING, Response.NOT_SERVING]

    asyncio.run(story())


def test_an_unknown_service_has_no_health():
    async def story() -> None:
        async with fronted() as served:
            stub = health_pb2_grpc.HealthStub(served.channel)
            code, _ = await refusal(stub.Check(request("etcdserverpb.Watch")))
            assert code is grpc.StatusCode.NOT_FOUND
            assert (await stub.Watch(request("etcdserverpb.Watch")).read()).status == Response.SERVICE_UNKNOWN

    asyncio.run(story())


def test_those_who_watch_hear_of_changes_though_another_leaves():
    async def story() -> None:
        async with fronted() as served:
            stub = health_pb2_grpc.HealthStub(served.channel)
            stays, leaves = stub.Watch(request()), stub.Watch(request())
            assert (await stays.read()).status == (await leaves.read()).status == Response.NOT_SERVING
            leaves.cancel()

            served.front.set_serving(True)
            assert (await stays.read()).status == Response.SERVING
            served.front.set_serving(True)
            served.front.set_serving(False)
            assert (await stays.read()).status == Response.NOT_SERVING

    asyncio.run(story())


def test_stopping_ends_the_watches_instead_of_waiting_for_them():
    async def story() -> None:
        async with fronted() as served:
            served.front.set_serving(True)
            watch = health_pb2_grpc.HealthStub(served.channel).Watch(request())
            assert (await watch.read()).status == Response.SERVING

            await served.front.stop(grace_s=3600)

            assert (await watch.read()).status == Response.NOT_SERVING
            assert await watch.read() is grpc.aio.EOF

    asyncio.run(story())


def test_a_watch_whose_answer_is_on_its_way_when_the_server_stops_tells_of_that_too():
    async def story() -> None:
        stopping = health.Health(())
        stopping.set_serving(True)
        watch = stopping.handlers()["/grpc.health.v1.Health/Watch"].unary_stream(request(), None)
        assert (await anext(watch)).status == Response.SERVING
        stopping.close()
        assert [answer.status async for answer in watch] == [Response.NOT_SERVING]

    asyncio.run(story())


def test_one_watch_too_many_is_refused(monkeypatch):
    monkeypatch.setattr(health, "WATCHERS_MAX", 1)

    async def story() -> None:
        async with fronted() as served:
            stub = health_pb2_grpc.HealthStub(served.channel)
            watch = stub.Watch(request())
            await watch.read()
            code, _ = await refusal(stub.Watch(request()).read())
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            watch.cancel()

    asyncio.run(story())
