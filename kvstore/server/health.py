"""The standard health service: whether this node can serve, to whoever asks or watches.

The messages are grpcio-health-checking's; the servicer is ours, because the library's asyncio one can only be changed
from a coroutine, and where two watch one service and one of them leaves, the other never hears of a change again.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

__all__ = ["WATCHERS_MAX", "Health"]

WATCHERS_MAX: Final = 1024

_Status = health_pb2.HealthCheckResponse
# Generic in the type stubs only.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Health:
    """All services share one state, which is NOT_SERVING at first. Belongs to one event loop."""

    def __init__(self, services: Collection[str]) -> None:
        self._services = frozenset(services) | {""}  # "" is the server as a whole
        self._serving = False
        self._closed = False
        self._watchers = 0
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        if serving != self._serving:
            self._serving = serving
            self._tell()

    def close(self) -> None:
        """NOT_SERVING from now on, and the end of all watches: a server that stops need not wait for them."""
        self._serving, self._closed = False, True
        self._tell()

    def handlers(self) -> dict[str, _Handler]:
        """By path."""
        messages = {
            "request_deserializer": health_pb2.HealthCheckRequest.FromString,
            "response_serializer": health_pb2.HealthCheckResponse.SerializeToString,
        }
        return {
            "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(self._check, **messages),
            "/grpc.health.v1.Health/Watch": grpc.unary_stream_rpc_method_handler(self._watch, **messages),
        }

    async def _check(self, request: Any, context: _Context) -> Any:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service!r}")
        return self._response(request.service)

    async def _watch(self, request: Any, context: _Context) -> AsyncIterator[Any]:
        if self._watchers >= WATCHERS_MAX:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{WATCHERS_MAX} watch already")
        self._watchers += 1
        try:
            seen = None
            while True:
                # Taken first: a change while the answer is sent is not missed, and no watch ends before it is told.
                changed, closed = self._changed, self._closed
                response = self._response(request.service)
                if response != seen:
                    yield response
                    seen = response
                if closed:
                    return
                await changed.wait()
        finally:
            self._watchers -= 1

    def _response(self, service: str) -> Any:
        if service not in self._services:
            return _Status(status=_Status.SERVICE_UNKNOWN)
        return _Status(status=_Status.SERVING if self._serving and not self._closed else _Status.NOT_SERVING)

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
