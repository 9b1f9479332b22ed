"""The asyncio half of a session: one stream of grpc.aio at a time, or two while a client moves to the leader.

Everything here runs on one event loop. Calls are submitted and wait for the turn to end: the writer's task wakes after
all tasks that were ready with the submitter, so that their calls share a batch. While a batch is being written more
calls gather for the next. No call has a task or a timer of its own: one timer serves the earliest deadline.

A client connects when there is something to send, and stays. It moves to the leader by opening a stream there beside
the old one, and leaves that only once it is drained; where the leader cannot be reached it stays.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from kvproto.session_pb2 import ClientBatch, Leader, ServerBatch

from kvclient.decisions import Failure
from kvclient.errors import Code, KvError
from kvclient.session.engine import Engine, Leave
from kvclient.session.pending import Pending
from kvclient.session.route import Route
from kvclient.shell import Shell, closed_failure, failure_of

__all__ = ["STREAM_METHOD", "Pipeline", "StreamUnsupported"]

logger = logging.getLogger(__name__)

STREAM_METHOD: Final = "/kvstore.session.v1.Session/Stream"
OPEN_TIMEOUT_S: Final = 2.0
FINISH_TIMEOUT_S: Final = 0.1

_Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"


class StreamUnsupported(KvError):
    """The servers know no sessions: the call was not sent, and has to travel alone. Never leaves the clients."""


class Pipeline:
    """``channel`` gives the connection to an endpoint, for as long as the client is open."""

    def __init__(self, shell: Shell, channel: "Callable[[str], grpc.aio.Channel]") -> None:
        self._loop = asyncio.get_running_loop()
        self._shell = shell
        self._channel = channel
        self._route = Route(shell.endpoints, first=shell.preferred, rng=shell.rng)
        self._engine = Engine(
            endpoint=self._route.endpoint, silence_s=shell.silence_s, alone=len(shell.endpoints) == 1, rng=shell.rng
        )
        self._stream: _Stream | None = None  # that serves, or is the first to be opened
        self._next: _Stream | None = None  # to the leader
        self._reconnect: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._ended: set[asyncio.Task[None]] = set()
        self._served = False
        self.is_supported = True

    @property
    def is_open(self) -> bool:
        """Whether a server is connected."""
        return self._engine.is_open

    # --- calls -------------------------------------------------------------------------------------------------------

    def submit(self, call: Pending) -> None:
        """A call begins; its handle gets a result or a ``KvError``. Raises ``ResourceExhausted``."""
        self._engine.submit(call)
        if call.deadline < self._timer_at:
            self._set_timer(call.deadline)
        stream = self._stream
        if stream is None:
            self._connect()
        elif stream.idle is not None:
            stream.wake()

    def abandon(self, call: Pending) -> None:
        """Nobody waits for it any more."""
        self._engine.abandon(call)

    async def close(self) -> None:
        """Ends the streams, and every call with an error."""
        if self._stream is not None and self._engine.is_at_rest:
            await self._stream.finish()
        self._end(closed_failure(self._engine.endpoint), None)
        while self._ended:
            await asyncio.wait(self._ended)

    def _end(self, failure: Failure, error: KvError | None) -> None:
        self._engine.end(failure, error)
        for handle in (self._timer, self._reconnect):
            if handle is not None:
                handle.cancel()
        for stream in (self._stream, self._next):
            if stream is not None:
                self._drop(stream)
        self._stream = self._next = self._timer = self._reconnect = None
        self._complete()

    # --- what the streams report -------------------------------------------------------------------------------------

    def opened(self, stream: "_Stream", batch: ServerBatch) -> None:
        """Its first batch has come."""
        if stream is self._next:
            if not (batch.HasField("leader") and batch.leader.is_this_node):
                self._give_up_move(stream)
                return
            self._engine.hold(self._loop.time())
        else:
            self._serve(stream, batch)
        self._settle()

    def received(self, stream: "_Stream", batch: ServerBatch) -> None:
        """Another batch has come."""
        if stream is not self._stream:
            return
        self._engine.received(batch, self._loop.time())
        if batch.HasField("leader"):
            self._follow(batch.leader)
        self._settle()

    def ended(self, stream: "_Stream", failure: Failure) -> None:
        """It is over, not by our wish."""
        if stream is self._next:
            self._give_up_move(stream)
        elif stream is self._stream:
            if failure.code is Code.UNIMPLEMENTED and not self._served:
                self.is_supported = False
                self._end(failure, StreamUnsupported(code=failure.code, text=failure.text, endpoint=failure.endpoint))
                return
            self._lose(failure)
            self._settle()

    def next_batch(self, stream: "_Stream") -> bytes | None:
        """What it shall write, if it serves."""
        if stream is not self._stream:
            return None
        batch = self._engine.take_batch(self._loop.time())
        if batch is None:
            return None
        deadline = self._engine.next_deadline()
        if deadline < self._timer_at:
            self._set_timer(deadline)
        return batch.SerializeToString()

    # --- connecting, moving, leaving ---------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._stream is None and self._reconnect is None:
            self._stream = self._open(self._route.endpoint)

    def _open(self, endpoint: str) -> "_Stream":
        request = self._engine.open_request(self._loop.time())
        open_timeout_s = min(OPEN_TIMEOUT_S, self._shell.silence_s)
        return _Stream(self, endpoint, self._channel(endpoint), request, open_timeout_s=open_timeout_s)

    def _serve(self, stream: "_Stream", first: ServerBatch) -> None:
        self._stream = stream
        self._served = True
        self._route.opened(stream.endpoint)
        self._shell.preferred = self._route.index
        self._engine.opened(first.opened, endpoint=stream.endpoint, now=self._loop.time())
        stream.start_writing()
        if first.HasField("leader"):
            self._follow(first.leader)

    def _follow(self, leader: Leader) -> None:
        stream = self._stream
        if stream is None or leader.is_this_node or not leader.node_id or self._next is not None:
            return
        target = self._route.to_leader(leader.client_urls, connected=stream.endpoint, now=self._loop.time())
        if target is not None:
            self._next = self._open(target)

    def _give_up_move(self, stream: "_Stream") -> None:
        self._route.misled(stream.endpoint, self._loop.time())
        self._next = None
        self._drop(stream)
        self._engine.release()
        self._settle()

    def _drop_next(self) -> None:
        """Its session may be forgotten by now, and the hint is old."""
        if self._next is not None:
            self._drop(self._next)
            self._next = None

    def _move(self, stream: "_Stream") -> None:
        old, self._next = self._stream, None
        assert old is not None, "from a stream"
        assert stream.first is not None, "to an open one"
        self._drop(old)
        self._engine.lost(None, self._loop.time())
        self._serve(stream, stream.first)

    def _lose(self, failure: Failure) -> None:
        stream, self._stream = self._stream, None
        assert stream is not None, "it was there"
        self._drop(stream)
        pause_s = self._route.failed(stream.endpoint)
        self._engine.lost(failure, self._loop.time())
        self._drop_next()
        if pause_s:
            self._reconnect = self._loop.call_later(pause_s, self._connect_again)

    def _connect_again(self) -> None:
        self._reconnect = None
        self._settle()

    def _drop(self, stream: "_Stream") -> None:
        task = stream.stop()
        if task is not asyncio.current_task() and not task.done():
            self._ended.add(task)
            task.add_done_callback(self._ended.discard)

    # --- after every input -------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Hands out what is done, and does what the engine wants done."""
        engine, now = self._engine, self._loop.time()
        match engine.leave(now):
            case None:
                pass
            case Leave.RENEW:
                assert self._stream is not None, "the engine is open"
                self._drop(self._stream)
                self._stream = None
                self._drop_next()
                engine.lost(None, now)
            case Leave() as reason:
                self._lose(Failure(Code.UNAVAILABLE, reason.value, engine.endpoint))
        if self._next is not None and self._next.first is not None and engine.is_drained(now):
            self._move(self._next)
        self._complete()
        stream = self._stream
        if stream is None:
            if engine.wants_stream:
                self._connect()
        elif stream.idle is not None:
            stream.wake()
        deadline = engine.next_deadline()
        if deadline < self._timer_at:
            self._set_timer(deadline)

    def _complete(self) -> None:
        for call, result in self._engine.take_done():
            handle = call.handle
            if not handle.done():
                handle.set_result(result)
        for call, error in self._engine.take_failed():
            if not call.handle.done():
                call.handle.set_exception(error)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        self._engine.tick(self._loop.time())
        self._settle()


class _Stream:
    """One stream: a task that opens it and reads, and one that writes. Reports to its pipeline until it is stopped."""

    def __init__(
        self,
        owner: Pipeline,
        endpoint: str,
        channel: "grpc.aio.Channel",
        open_request: ClientBatch,
        *,
        open_timeout_s: float,
    ) -> None:
        self._open_timeout_s = open_timeout_s
        self.endpoint = endpoint
        self.first: ServerBatch | None = None
        self.idle: asyncio.Future[None] | None = None  # the writer waits on it
        self._owner = owner
        self._channel = channel
        self._stopped = False
        self._writer: asyncio.Task[None] | None = None
        self._call: _Call | None = None
        self._reader = asyncio.create_task(self._run(open_request.SerializeToString()))

    def wake(self) -> None:
        """There may be something to write."""
        idle, self.idle = self.idle, None
        if idle is not None and not idle.done():
            idle.set_result(None)

    def start_writing(self) -> None:
        """It serves from now on."""
        call = self._call
        assert call is not None, "it is open"
        assert self._writer is None, "only once"
        self._writer = asyncio.create_task(self._write(call))

    async def finish(self) -> None:
        """Ends in peace, with nothing under way. What is cancelled instead may leave events of gRPC for later, which
        find the loop closed.
        """
        self._stopped = True
        if self._writer is not None:
            self._writer.cancel()
        if self._call is not None:
            with suppress(grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
                await self._call.done_writing()
            await asyncio.wait([self._reader], timeout=FINISH_TIMEOUT_S)

    def stop(self) -> "asyncio.Task[None]":
        """No more reports; returns the task that ends soon."""
        self._stopped = True
        for task in (self._writer, self._reader):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        if self._call is not None:
            self._call.cancel()
        return self._reader

    async def _run(self, open_request: bytes) -> None:
        try:
            failure = await self._read(open_request)
        except asyncio.CancelledError:
            if self._stopped:
                return
            raise
        except TimeoutError:
            failure = Failure(Code.UNAVAILABLE, "no session was opened in time", self.endpoint)
        except grpc.RpcError as error:
            failure = failure_of(error, endpoint=self.endpoint)
        except DecodeError as error:
            failure = Failure(Code.INTERNAL, f"unreadable answer: {error}", self.endpoint)
        except KeyError as status:  # how grpc.aio takes a status that it has no name for
            failure = Failure(Code.UNKNOWN, f"status {status}", self.endpoint)
        except (grpc.aio.BaseError, asyncio.InvalidStateError):  # the call or its channel was closed meanwhile
            failure = Failure(Code.UNAVAILABLE, "the connection was closed", self.endpoint)
        except Exception as fault:
            logger.exception("the stream to %s failed", self.endpoint)
            failure = Failure(Code.INTERNAL, f"internal error: {fault!r}", self.endpoint)
        if not self._stopped:
            self._owner.ended(self, failure)

    async def _read(self, open_request: bytes) -> Failure:
        """Until the stream ends; returns how, unless that is an exception."""
        async with asyncio.timeout(self._open_timeout_s):
            call: _Call = self._channel.stream_stream(STREAM_METHOD, None, None)(None, wait_for_ready=False)
            self._call = call
            with suppress(asyncio.InvalidStateError):  # the server has ended it already; reading says how
                await call.write(open_request)
            payload = await call.read()
        while isinstance(payload, bytes):  # else it is the end of the stream
            batch = ServerBatch.FromString(payload)
            if self.first is None:
                if not batch.HasField("opened"):
                    return Failure(Code.INTERNAL, "no session was opened", self.endpoint)
                self.first = batch
                self._owner.opened(self, batch)
            self._owner.received(self, batch)
            if self._stopped:
                break
            payload = await call.read()
        return Failure(Code.UNAVAILABLE, "the server ended the stream", self.endpoint)

    async def _write(self, call: _Call) -> None:
        try:
            while True:
                payload = self._owner.next_batch(self)
                if payload is None:
                    self.idle = asyncio.get_running_loop().create_future()
                    await self.idle
                else:
                    await call.write(payload)
        except (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
            return  # the reader learns why
