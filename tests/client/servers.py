"""Servers on real loopback ports, for clients that block: their event loop has a thread of its own.

``Served`` is the API over a fake replica: what kv-server shows to clients. ``Scripted`` answers each call with the next
step of a script and keeps what it was sent.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import grpc
import grpc.aio

from kvstore.api import etcd_methods
from kvstore.server.grpc_front import GrpcFront
from tests.api.fake_replica import FakeReplica

__all__ = [
    "WAIT_S",
    "Answer",
    "EventLoop",
    "Hang",
    "Refuse",
    "Scripted",
    "Served",
    "scripted",
    "served",
    "shared_loop",
    "unused_endpoint",
]

WAIT_S = 20.0


class EventLoop:
    """A loop that runs in a thread until ``stop``."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(_handle)
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)

    def call(self, function: Callable[[], Any]) -> Any:
        async def work() -> Any:
            return function()

        return self.run(work())

    def stop(self) -> None:
        self.run(self.loop.shutdown_asyncgens())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_S)
        self.loop.close()


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """grpc.aio wakes all loops of a process, and those that find nothing complain: see kvclient.background."""
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)


@cache
def shared_loop() -> EventLoop:
    """The loop of all servers, and of the asyncio clients: gRPC polls once for a whole process, and several loops get
    into each other's way there, with a lot of noise in the log.
    """
    return EventLoop()


class Served:
    """One front over one fake replica. ``stop`` and ``start`` again on the same port: a restart that keeps the data."""

    def __init__(self, port: int = 0) -> None:
        self.loop = shared_loop()
        self.port = port
        self.replica: FakeReplica = self.loop.call(FakeReplica)
        self._front: GrpcFront | None = None
        self.start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        async def work() -> None:
            self._front = GrpcFront(etcd_methods(self.replica))
            self.port = self._front.listen(self.endpoint)
            await self._front.start()

        self.loop.run(work())

    def stop(self) -> None:
        front, self._front = self._front, None
        if front is not None:
            self.loop.run(front.stop(grace_s=0))

    def hold_back(self) -> None:
        """From now on nothing is answered that needs a quorum."""
        self.loop.call(self.replica.go.clear)

    def go_on(self) -> None:
        self.loop.call(self.replica.go.set)

    def wait_for_someone(self) -> None:
        """Until a request is being held back."""
        self.loop.run(self.replica.someone_waits.wait())

    @property
    def writes(self) -> int:
        """How many writes have reached the replica."""
        return len(self.replica.proposed)

    def close(self) -> None:
        self.go_on()
        self.stop()
        self.loop.call(self.replica.store._connection.close)


@contextmanager
def served(port: int = 0) -> Iterator[Served]:
    server = Served(port)
    try:
        yield server
    finally:
        server.close()


@dataclass(frozen=True)
class Answer:
    payload: bytes


@dataclass(frozen=True)
class Refuse:
    code: grpc.StatusCode
    text: str


@dataclass(frozen=True)
class Hang:
    """Never an answer."""


Step = Answer | Refuse | Hang


@dataclass
class Scripted:
    """The last step of the script is taken for ever after."""

    script: list[Step]
    port: int = 0
    calls: list[tuple[str, bytes]] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    metadata: list[dict[str, str]] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def handle(self, method: str, request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        self.calls.append((method, request))
        self.metadata.append(dict(context.invocation_metadata() or ()))
        step = self.script[min(len(self.calls), len(self.script)) - 1]
        self.arrived.set()
        match step:
            case Answer(payload):
                return payload
            case Refuse(code, text):
                await context.abort(code, text)
            case Hang():
                await asyncio.Event().wait()
        raise AssertionError("unreachable")


class _Everything(grpc.GenericRpcHandler):
    def __init__(self, script: Scripted) -> None:
        self._script = script

    def service(self, handler_call_details):
        if handler_call_details.method.startswith("/kvstore."):
            return None  # etcd's API alone

        async def handle(request, context):
            return await self._script.handle(handler_call_details.method, request, context)

        return grpc.unary_unary_rpc_method_handler(handle)


@contextmanager
def scripted(*script: Step) -> Iterator[Scripted]:
    loop = shared_loop()
    made = Scripted(list(script))

    async def start() -> grpc.aio.Server:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
        server.add_generic_rpc_handlers((_Everything(made),))
        made.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server

    server = loop.run(start())
    try:
        yield made
    finally:
        loop.run(server.stop(None))


@contextmanager
def unused_endpoint() -> Iterator[str]:
    """Where connections are refused: the port is taken, and nobody listens on it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"
