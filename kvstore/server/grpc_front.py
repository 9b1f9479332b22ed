"""The thin adapter that puts the API's registry on grpc.aio, with health and reflection.

It knows wires and codes and nothing about keys. Its handlers take and give raw bytes, so that a message which does not
parse, a handler's refusal and a handler's fault all take the same short way to a status. A fault is logged here; the
client learns nothing about it but that it happened.

**Limits (L13).** gRPC refuses messages above ``MESSAGE_BYTES_MAX``, half a MiB beyond what a request may have, so that
slightly too large a request gets etcd's own answer. Requests in flight are counted here: grpc.aio's own limit has been
found to let more through, and answers in other words.

**The end.** A gRPC server that stops cancels calls which have arrived and which no handler has seen, and their clients
cannot know that nothing was done. So before it stops, this one tells whoever still comes that it will not, until nobody
comes any more: clients go elsewhere.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NoReturn, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from kvstore.api import ApiError, Context, Method, StreamHandler, TooManyRequests
from kvstore.mvcc.errors import Code
from kvstore.mvcc.validate import REQUEST_BYTES_MAX
from kvstore.server.health import Health
from kvstore.server.reflection import reflection_pool

__all__ = ["IN_FLIGHT_MAX", "MESSAGE_BYTES_MAX", "GrpcFront", "Stopping"]

logger = logging.getLogger(__name__)

IN_FLIGHT_MAX: Final = 4096
STREAMS_MAX: Final = 10_000
MESSAGE_BYTES_MAX: Final = REQUEST_BYTES_MAX + 512 * 1024

_STATUS: Final[Mapping[Code, grpc.StatusCode]] = {
    Code.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Code.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Code.FAILED_PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Code.OUT_OF_RANGE: grpc.StatusCode.OUT_OF_RANGE,
    Code.RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Code.INTERNAL: grpc.StatusCode.INTERNAL,
}
assert set(_STATUS) == set(Code), "every code has its status"

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", -1),  # a range is as large as what was asked for
    ("grpc.so_reuseport", 0),  # a second process on the same port is a mistake: let it fail
    # Clients ping idle connections, some of them every few seconds and without a call: no reason to hang up.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
)

_QUIET_S: Final = 0.01
_QUIET_LOOKS: Final = 20
"""Without a request at so many looks in a row, nobody is on the way any more. On a starved machine they take longer."""

_FAULT: Final = "kvstore: internal error; the server's log has the details"

# Generic in the type stubs only.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Call: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class Stopping(ApiError):
    """Nothing was done with the request: another node may be asked, or this one again when it is back."""

    def __init__(self) -> None:
        super().__init__(Code.UNAVAILABLE, "etcdserver: not proposed: this node is stopping")


class GrpcFront:
    """One server. Make it, and use it, within the event loop that it shall run on."""

    def __init__(self, methods: Mapping[str, Method], *, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        assert in_flight_max >= 1, f"at least one request: {in_flight_max}"
        self._in_flight_max = in_flight_max
        self._in_flight = 0
        self._stopping = False
        self._came_late = False
        services = {method.service for method in methods.values()}
        self._health = Health(services)
        self._streams = 0
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        handlers = {path: self._handler(method) for path, method in methods.items()}
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((_Routes(handlers | self._health.handlers()),))
        reflection.enable_server_reflection(
            sorted(services | {health.SERVICE_NAME, reflection.SERVICE_NAME}),
            self._server,
            reflection_pool(methods.values()),
        )

    @property
    def in_flight(self) -> int:
        """Requests that are being answered now."""
        return self._in_flight

    def listen(self, address: str) -> int:
        """Takes ``HOST:PORT`` before ``start``; returns the port, which is a free one for port 0. Raises OSError."""
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        if port == 0:
            raise OSError(f"cannot listen on {address}")
        return port

    async def start(self) -> None:
        await self._server.start()

    def set_serving(self, serving: bool) -> None:
        """What the health service says; not serving at first. Requests are answered either way."""
        self._health.set_serving(serving)

    async def stop(self, *, grace_s: float) -> None:
        """Takes no new requests and gives those in flight ``grace_s`` to end; streams end as if their clients had."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        self._health.close()
        if not self._closing.done():
            self._closing.set_result(None)
        self._stopping = True
        quiet_looks = 0
        while quiet_looks < _QUIET_LOOKS and loop.time() < deadline:
            self._came_late = False
            await asyncio.sleep(_QUIET_S)
            quiet_looks = 0 if self._came_late or self._in_flight else quiet_looks + 1
        await self._server.stop(max(0.0, deadline - loop.time()))

    def _handler(self, method: Method) -> _Handler:
        if method.stream_handler is not None:
            return self._stream_handler(method, method.stream_handler)
        handle = method.handler
        assert handle is not None, f"{method.path} has no handler"
        parse = method.request_class.FromString

        async def answer(data: bytes, call: _Call) -> bytes:
            if self._stopping:
                self._came_late = True
                return await _refuse(call, Stopping())
            if self._in_flight >= self._in_flight_max:
                return await _refuse(call, TooManyRequests())
            try:
                request = parse(data)
            except DecodeError as error:
                return await _refuse(call, ApiError(Code.INTERNAL, f"grpc: error unmarshalling request: {error}"))
            self._in_flight += 1
            try:
                response = await handle(request, _context(call))
                return response.SerializeToString()
            except ApiError as error:
                return await _refuse(call, error)
            except Exception:
                logger.exception("%s failed", method.path)
                return await _refuse(call, ApiError(Code.INTERNAL, _FAULT))
            finally:
                self._in_flight -= 1

        return grpc.unary_unary_rpc_method_handler(answer)

    def _stream_handler(self, method: Method, handle: StreamHandler) -> _Handler:
        async def incoming(requests: AsyncIterator[bytes]) -> AsyncIterator[Message]:
            """Ends when the client has closed its side, or this server is about to."""
            while not self._closing.done():
                reading = asyncio.ensure_future(anext(requests, None))
                reading.add_done_callback(_look_at)  # a call that is cut off leaves it to fail alone
                await asyncio.wait((reading, self._closing), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done() or (data := reading.result()) is None:
                    return
                try:
                    request = method.request_class.FromString(data)
                except DecodeError as error:
                    raise ApiError(Code.INTERNAL, f"grpc: error unmarshalling request: {error}") from error
                yield request

        async def converse(requests: AsyncIterator[bytes], call: _Call) -> AsyncIterator[bytes]:
            if self._streams >= STREAMS_MAX:
                await _refuse(call, TooManyRequests())
            self._streams += 1
            try:
                async for response in handle(incoming(requests), _context(call)):
                    yield response.SerializeToString()
            except ApiError as error:
                await _refuse(call, error)
            except Exception:
                logger.exception("%s failed", method.path)
                await _refuse(call, ApiError(Code.INTERNAL, _FAULT))
            finally:
                self._streams -= 1

        return grpc.stream_stream_rpc_method_handler(converse)


class _Routes(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic in the stubs only
    """One look-up for each call; gRPC answers UNIMPLEMENTED where it fails."""

    def __init__(self, handlers: Mapping[str, _Handler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "_Handler | None":
        return self._handlers.get(handler_call_details.method)


def _look_at(ended: "asyncio.Future[bytes | None]") -> None:
    """asyncio complains of exceptions that nobody looked at."""
    if not ended.cancelled():
        ended.exception()


def _context(call: _Call) -> Context:
    remaining = call.time_remaining()  # None: the client set no deadline
    return Context(math.inf if remaining is None else remaining, call.invocation_metadata() or ())


async def _refuse(call: _Call, error: ApiError) -> NoReturn:
    await call.abort(_STATUS[error.code], error.text)
