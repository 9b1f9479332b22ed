"""One lane to one peer: dials, introduces itself, then sends whatever waits, one frame per wake-up.

``send`` never blocks: it queues and wakes the one task that owns the connection, so all that goes to a peer in a turn
of the loop is one frame, and all that comes while a frame is being written is the next one. What was queued for a peer
that is down waits within the queue's bounds; nothing is sent twice, and a message that was being written when the
connection broke is lost. Consensus tolerates that.

A fresh channel per attempt: the pace of dialing is ours (jittered, exponential), not the channel's.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from kvproto import paxos_pb2 as pb

from kvstore.paxos.types import NodeId
from kvstore.transport.codec import encode_frame
from kvstore.transport.handshake import Handshake, Lane, handshake_to_wire
from kvstore.transport.outbound import OutboundQueue
from kvstore.transport.wire import CHANNEL_OPTIONS, EOF, FRAME_BYTES_MAX, LINK_METHOD

__all__ = ["BACKOFF_MAX_S", "BACKOFF_MIN_S", "LinkStats", "PeerLink", "backoff_s"]

logger = logging.getLogger(__name__)

BACKOFF_MIN_S: Final = 0.02
BACKOFF_MAX_S: Final = 1.0
_DIAL_TIMEOUT_S: Final = 3.0
_FRAME_BATCH_BYTES: Final = 4 << 20  # what is sent while more comes: small enough that a heartbeat waits little
_REFRESH_S: Final = 1.0
_OVERHEAD_BYTES: Final = 1 << 10  # of a frame around one message: tag, length, a handshake


def backoff_s(attempt: int, rng: Random) -> float:
    """The wait before dialing again after ``attempt`` failures in a row: doubling, bounded, half of it jitter."""
    return float(min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2 ** min(attempt, 16)) * (0.5 + rng.random() / 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStats:
    up: bool
    queued_messages: int
    queued_bytes: int
    dropped_messages: int
    frames_sent: int
    messages_sent: int
    dials: int


class PeerLink:
    """``introduce`` builds a handshake from what is durable now. The callbacks run in the loop and must not raise.

    ``on_refused`` is called when the peer's answer changes, not at every attempt.
    """

    def __init__(
        self,
        *,
        peer: NodeId,
        address: str,
        lane: Lane,
        introduce: Callable[[], Handshake],
        queue: OutboundQueue,
        rng: Random,
        on_up: Callable[[NodeId], None],
        on_lost: Callable[[NodeId], None],
        on_refused: Callable[[NodeId, str], None],
    ) -> None:
        self.peer = peer
        self.address = address
        self._lane = lane
        self._introduce = introduce
        self._queue = queue
        self._rng = rng
        self._on_up = on_up
        self._on_lost = on_lost
        self._on_refused = on_refused
        self._wake = asyncio.Event()
        self._nudged = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._up = False
        self._refused_for: str | None = None
        self._trouble: str | None = None
        self._oversized = self._frames_sent = self._messages_sent = self._dials = 0

    def start(self) -> None:
        assert self._task is None, "a link starts once"
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"{self._lane.value} link to {self.peer}")

    def send(self, encoded: bytes) -> None:
        """Queues one message that ``codec.encode`` made; never blocks, may drop."""
        if len(encoded) > FRAME_BYTES_MAX - _OVERHEAD_BYTES:
            self._oversized += 1
            logger.error("drops a message of %d bytes to node %s: no frame holds it", len(encoded), self.peer)
            return
        self._queue.push(encoded)
        self._wake.set()

    def nudge(self) -> None:
        """The peer has just called: it is there, so dial now rather than after the rest of the wait.

        Heeded once in ``BACKOFF_MAX_S``.
        """
        self._nudged.set()

    @property
    def up(self) -> bool:
        return self._up

    def stats(self) -> LinkStats:
        return LinkStats(
            up=self._up,
            queued_messages=len(self._queue),
            queued_bytes=self._queue.size_bytes,
            dropped_messages=self._queue.dropped + self._oversized,
            frames_sent=self._frames_sent,
            messages_sent=self._messages_sent,
            dials=self._dials,
        )

    async def close(self, grace_s: float) -> None:
        """Sends what is queued if the link is up and ``grace_s`` lasts, then closes. No callback comes after this."""
        self._closing = True
        if self._task is None:
            return
        self._wake.set()
        if self._up and grace_s > 0:
            await asyncio.wait([self._task], timeout=grace_s)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        attempt = 0
        hastened_at = -math.inf
        while not self._closing:
            self._nudged.clear()
            dialed_at = loop.time()
            trouble = await self._connect()
            if self._closing:
                return
            if trouble != self._trouble:
                logger.info("%s link to node %s at %s: %s", self._lane.value, self.peer, self.address, trouble)
            self._trouble = trouble
            # A connection that broke at once does not count as recovery.
            attempt = 0 if loop.time() - dialed_at > BACKOFF_MAX_S + _DIAL_TIMEOUT_S else attempt
            wait_s = backoff_s(attempt, self._rng)
            if loop.time() - hastened_at < BACKOFF_MAX_S:
                # Two nodes that accept each other and then cut each other off must not nudge each other for ever.
                await asyncio.sleep(wait_s)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._nudged.wait()
                        hastened_at = loop.time()
            attempt += 1

    async def _connect(self) -> str:
        """One connection from its dial to its end; returns why it ended."""
        self._dials += 1
        channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        try:
            call: Any = channel.stream_stream(LINK_METHOD, None, None)(None, wait_for_ready=False)
            try:
                return await self._converse(call)
            finally:
                call.cancel()
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        except (asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            # How grpc puts it when the stream ended between two operations.
            return f"the stream ended: {error}"
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return "grpc cancelled the stream"
        except Exception:
            # A fault of ours; a link that gives up would be a worse one.
            logger.exception("%s link to node %s failed", self._lane.value, self.peer)
            return "it failed"
        finally:
            await channel.close(None)

    async def _converse(self, call: Any) -> str:
        introduced = self._introduce()
        try:
            async with asyncio.timeout(_DIAL_TIMEOUT_S):
                await call.write(encode_frame((), handshake=handshake_to_wire(introduced)))
                raw = await call.read()
        except TimeoutError:
            return f"no answer within {_DIAL_TIMEOUT_S:g} s"
        if raw is EOF:
            return f"closed without an answer: {await _why(call)}"
        try:
            reply = pb.HandshakeReply.FromString(raw)
        except DecodeError:
            return f"what listens there is no node: it answered with {len(raw)} bytes that are no reply"
        if not reply.accepted:
            return self._refused(reply.reason)
        if reply.node_id != self.peer:
            return self._refused(f"{self.address} should be node {self.peer}, but is node {reply.node_id}")
        return await self._serve(call, introduced)

    def _refused(self, reason: str) -> str:
        if reason != self._refused_for:
            self._refused_for = reason
            self._on_refused(self.peer, reason)
        return f"refused: {reason}"

    async def _serve(self, call: Any, introduced: Handshake) -> str:
        """Sends until the stream ends, or until all is sent and this link is closing."""
        self._refused_for = self._trouble = None
        self._up = True
        logger.info("%s link to node %s at %s is up", self._lane.value, self.peer, self.address)
        self._on_up(self.peer)
        end = asyncio.get_running_loop().create_task(_until_closed(call))
        end.add_done_callback(lambda _: self._wake.set())
        try:
            await self._pump(call, introduced, end)
            if not end.done():
                await call.done_writing()
            return await end  # when it comes after done_writing, the peer has read everything
        finally:
            self._up = False
            if not end.done():
                end.cancel()
            await asyncio.gather(end, return_exceptions=True)
            if not self._closing:
                self._on_lost(self.peer)

    async def _pump(self, call: Any, introduced: Handshake, end: "asyncio.Task[str]") -> None:
        loop = asyncio.get_running_loop()
        refreshed_at, due = loop.time(), introduced
        while not end.done():
            self._wake.clear()
            batch = self._queue.take(bytes_max=_FRAME_BATCH_BYTES)
            if not batch:
                if self._closing:
                    return
                await self._wake.wait()
                continue
            handshake = None
            if self._lane is Lane.PROTOCOL and loop.time() - refreshed_at >= _REFRESH_S:
                # The peer comes to remember how long our log is, and would notice if it went back (L11). It is told
                # what was so a refresh ago: the bulk lane's handshake may be on its way, and must not come in behind.
                if due.log_sequence > introduced.log_sequence:
                    introduced, handshake = due, handshake_to_wire(due)
                refreshed_at, due = loop.time(), self._introduce()
            await call.write(encode_frame(batch, handshake=handshake))
            self._frames_sent += 1
            self._messages_sent += len(batch)


async def _until_closed(call: Any) -> str:
    """Why the peer ended the stream. It says nothing after its first answer."""
    try:
        if await call.read() is not EOF:
            return "the peer answered twice"
        return f"closed: {await _why(call)}"
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"


async def _why(call: Any) -> str:
    code = await call.code()
    return f"{code.name} {await call.details() or ''}".rstrip()
