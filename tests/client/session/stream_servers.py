"""Session servers on real loopback ports, scripted: each answers batches from a small store that several can share.

``Store`` does what replicas do: applies each (session, sequence) once. ``StreamServer`` is one node before it; what it
does with a batch can be replaced, batch by batch.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import grpc.aio
from kvclient.session.pipeline import STREAM_METHOD
from kvproto.command_pb2 import Entry
from kvproto.etcd import rpc_pb2 as rpc
from kvproto.session_pb2 import ClientBatch, Read, ServerBatch

from tests.client.servers import shared_loop

__all__ = ["Reset", "Store", "StreamServer", "silence", "stream_server", "wait_for"]


@dataclass(frozen=True)
class Reset:
    """The stream ends with this status."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    text: str = "etcdserver: going away"


Answer = ServerBatch | Reset | None
Act = Callable[["StreamServer", ClientBatch], Answer]


class Store:
    """Keys, and which request was answered how."""

    def __init__(self) -> None:
        self.revision = 1
        self.opened = 0
        self.values: dict[bytes, bytes] = {}
        self.answers: dict[tuple[int, int], rpc.PutResponse | rpc.DeleteRangeResponse | rpc.TxnResponse] = {}
        self.sessions: set[int] = set()
        self.applied = 0

    def open(self, session: int) -> int:
        if session:
            return session
        self.opened += 1
        self.sessions.add(self.opened)
        return self.opened

    def answer(self, batch: ClientBatch) -> ServerBatch:
        """The last answer comes first, and plain puts in columns."""
        answers = ServerBatch()
        for entry in reversed(batch.entries):
            if entry.session not in self.sessions:
                refusal = answers.writes.add(sequence=entry.sequence).refusal
                refusal.code, refusal.text, refusal.session_expired = 5, "kvstore: session expired", True
                continue
            answer = self._write(entry)
            if isinstance(answer, rpc.PutResponse):
                answers.put_sequences.append(entry.sequence)
                answers.put_revisions.append(answer.header.revision)
            elif isinstance(answer, rpc.DeleteRangeResponse):
                answers.writes.add(sequence=entry.sequence, delete_range=answer)
            else:
                answers.writes.add(sequence=entry.sequence, txn=answer)
        for read in reversed(batch.reads):
            self._read(read, answers)
        answers.header.revision = self.revision
        return answers

    def _write(self, entry: Entry) -> rpc.PutResponse | rpc.DeleteRangeResponse | rpc.TxnResponse:
        known = self.answers.get((entry.session, entry.sequence))
        if known is not None:
            return known
        self.applied += 1
        self.revision += 1
        answer: rpc.PutResponse | rpc.DeleteRangeResponse | rpc.TxnResponse
        match entry.WhichOneof("command"):
            case "put":
                self.values[entry.put.key] = entry.put.value
                answer = rpc.PutResponse()
            case "delete_range":
                answer = rpc.DeleteRangeResponse(deleted=self.values.pop(entry.delete_range.key, None) is not None)
            case _:
                answer = self._txn(entry.txn)
        answer.header.revision = self.revision
        self.answers[entry.session, entry.sequence] = answer
        return answer

    def _txn(self, txn: rpc.TxnRequest) -> rpc.TxnResponse:
        """Of comparisons only those that the clients' compare_and_swap makes."""
        holds = all(
            self.values.get(compare.key) == compare.value
            if compare.target == rpc.Compare.VALUE
            else (compare.key not in self.values)
            for compare in txn.compare
        )
        answer = rpc.TxnResponse(succeeded=holds)
        for operation in txn.success if holds else txn.failure:
            self.values[operation.request_put.key] = operation.request_put.value
            answer.responses.add().response_put.header.revision = self.revision
        return answer

    def _read(self, read: Read, answers: ServerBatch) -> None:
        answer = answers.reads.add(number=read.number)
        if read.HasField("txn"):
            answer.txn.succeeded = True
            return
        answer.range.header.revision = self.revision
        first, end = read.range.key, read.range.range_end
        for key in sorted(self.values):
            if key == first or (end and first <= key and (key < end or end == b"\0")):
                answer.range.kvs.add(key=key, value=self.values[key])
                answer.range.count += 1


def serve(server: "StreamServer", batch: ClientBatch) -> Answer:
    """As a good server does."""
    return server.store.answer(batch)


def silence(server: "StreamServer", batch: ClientBatch) -> Answer:
    """Never an answer, and nothing is done."""
    return None


@dataclass
class StreamServer:
    """``acts``: what to do with the first batches; then ``serve``, or the last of them if ``for_ever``.

    ``first``: goes with the answer to open, or instead of it.
    """

    store: Store = field(default_factory=Store)
    acts: list[Act] = field(default_factory=list)
    for_ever: bool = False
    first: ServerBatch | Reset | None = field(default_factory=ServerBatch)
    requests_max: int = 4096
    port: int = 0
    opens: list[int] = field(default_factory=list)
    batches: list[ClientBatch] = field(default_factory=list)
    streams: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    pushes: "asyncio.Queue[ServerBatch | Reset]" = field(default_factory=asyncio.Queue)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def writes(self) -> list[tuple[int, int]]:
        """(session, sequence) of all that came, copies too."""
        return [(entry.session, entry.sequence) for batch in self.batches for entry in batch.entries]

    def push(self, batch: ServerBatch | Reset) -> None:
        """A word from the server that nobody asked for."""
        shared_loop().call(lambda: self.pushes.put_nowait(batch))

    async def stream(self, requests: AsyncIterator[bytes], context: "grpc.aio.ServicerContext") -> None:
        self.streams += 1
        try:
            await self._serve(requests, context)
        finally:
            self.streams -= 1
            self.changed.set()

    async def _serve(self, requests: AsyncIterator[bytes], context: "grpc.aio.ServicerContext") -> None:
        opening = ClientBatch.FromString(await anext(aiter(requests)))
        self.opens.append(opening.open.session)
        self.changed.set()
        await self._send(self._opened(opening), context)
        pushing = asyncio.create_task(self._push(context))
        try:
            async for payload in requests:
                batch = ClientBatch.FromString(payload)
                self.batches.append(batch)
                act = serve
                if self.acts:
                    act = self.acts[0] if self.for_ever else self.acts.pop(0)
                self.changed.set()
                await self._send(act(self, batch), context)
        finally:
            pushing.cancel()

    def _opened(self, opening: ClientBatch) -> Answer:
        if not isinstance(self.first, ServerBatch):
            return self.first
        opened = ServerBatch()
        opened.CopyFrom(self.first)
        opened.opened.session = self.store.open(opening.open.session)
        opened.opened.requests_max = self.requests_max
        opened.opened.bytes_max = 1 << 24
        return opened

    async def _push(self, context: "grpc.aio.ServicerContext") -> None:
        while True:
            await self._send(await self.pushes.get(), context)

    async def _send(self, answer: Answer, context: "grpc.aio.ServicerContext") -> None:
        match answer:
            case ServerBatch():
                await context.write(answer.SerializeToString())
            case Reset(code, text):
                await context.abort(code, text)


class _Routes(grpc.GenericRpcHandler):
    def __init__(self, server: StreamServer) -> None:
        self._server = server

    def service(self, handler_call_details):
        if handler_call_details.method == STREAM_METHOD:
            return grpc.stream_stream_rpc_method_handler(self._server.stream)
        return None


@contextmanager
def stream_server(store: Store | None = None, *acts: Act, **options) -> Iterator[StreamServer]:
    loop = shared_loop()

    async def start() -> tuple[StreamServer, grpc.aio.Server]:
        made = StreamServer(store or Store(), list(acts), **options)
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((_Routes(made),))
        made.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return made, server

    made, server = loop.run(start())
    made.stop = lambda: loop.run(server.stop(None))
    try:
        yield made
    finally:
        loop.run(server.stop(None))


def wait_for(server: StreamServer, condition: Callable[[], bool]) -> None:
    """Until something has happened at the server that makes it true."""

    async def wait() -> None:
        while not condition():
            server.changed.clear()
            await server.changed.wait()

    shared_loop().run(wait())
