"""The peer port: who may speak here, and what they say.

A stream must introduce itself before it is heard. One that is refused gets the reason as its answer; one that sends
what no correct node sends is closed with the reason. Neither harms the node. Of a peer's streams on one lane only the
newest is heard, and none of an older incarnation than the newest: after a restart nothing that the former process sent
comes in behind what the new one says.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from kvproto import paxos_pb2 as pb

from kvstore.paxos.types import NodeId
from kvstore.transport.codec import MalformedMessage, PeerMessage, decode_messages, parse_frame
from kvstore.transport.handshake import Handshake, Lane, handshake_from_wire
from kvstore.transport.wire import EOF, SERVER_OPTIONS, SERVICE

__all__ = ["PeerListener"]

logger = logging.getLogger(__name__)

_STREAMS_MAX: Final = 256
_INTRODUCTION_TIMEOUT_S: Final = 5.0
_REASON_CHARACTERS_MAX: Final = 1000  # a status travels in a header, which is small


@dataclass(eq=False, slots=True)
class _Stream:
    """An accepted stream. ``reader`` runs until the peer ends the stream or it is replaced."""

    introduced: Handshake
    reader: "asyncio.Task[None] | None" = None
    replaced_by: str | None = None


class PeerListener:
    """The callbacks run in the loop and must not raise.

    ``verify`` says why a handshake is refused, None where it is accepted. ``on_introduced`` gets every accepted
    handshake, and again each that a stream repeats because its log grew. ``on_lost`` tells that a protocol stream ended
    without another taking its place.
    """

    def __init__(
        self,
        *,
        node_id: NodeId,
        incarnation: int,
        address: str,
        verify: Callable[[Handshake], str | None],
        answer_hello: Callable[[pb.HelloRequest], pb.HelloReply],
        on_introduced: Callable[[Handshake], None],
        on_messages: Callable[[NodeId, list[PeerMessage]], None],
        on_lost: Callable[[NodeId], None],
        introduction_timeout_s: float = _INTRODUCTION_TIMEOUT_S,
    ) -> None:
        self._node_id = node_id
        self._incarnation = incarnation
        self._address = address
        self._verify = verify
        self._answer_hello = answer_hello
        self._on_introduced = on_introduced
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._introduction_timeout_s = introduction_timeout_s
        self._streams: dict[tuple[NodeId, Lane], _Stream] = {}
        self._takes_streams = False
        self._closing = False
        self._server: Any = None

    async def start(self) -> int:
        """Binds the port and returns it. OSError where it cannot be had."""
        assert self._server is None, "a listener starts once"
        server = grpc.aio.server(options=SERVER_OPTIONS, maximum_concurrent_rpcs=_STREAMS_MAX)
        handlers = {
            "Link": grpc.stream_stream_rpc_method_handler(self._link),
            "Hello": grpc.unary_unary_rpc_method_handler(self._hello),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        try:
            port = server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise OSError(f"cannot listen for peers on {self._address}: {error}") from error
        await server.start()
        self._server = server
        return int(port)

    def take_streams(self) -> None:
        """From now on; before, this node belongs to no cluster, and whoever dials comes again."""
        self._takes_streams = True

    async def close(self, grace_s: float) -> None:
        self._closing = True
        for stream in list(self._streams.values()):
            _end(stream, "this node shuts down")
        if self._server is not None:
            await self._server.stop(grace_s)

    async def _hello(self, raw: bytes, context: Any) -> bytes:
        try:
            request = pb.HelloRequest.FromString(raw)
        except DecodeError:
            logger.warning("%s says hello in %d bytes that are no request", context.peer(), len(raw))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "malformed HelloRequest")
        return self._answer_hello(request).SerializeToString()

    async def _link(self, _requests: Any, context: Any) -> None:
        """One incoming stream. Raises what ``context.abort`` raises where it ends other than by the peer's wish."""
        try:
            handshake = await self._introduction(context)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no handshake came")
        except MalformedMessage as error:
            await self._abort_malformed(context, "somebody", error)
        if handshake is None:
            return
        if not self._takes_streams:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"node {self._node_id} belongs to no cluster yet")
        reason = "this node shuts down" if self._closing else self._verify(handshake)
        if reason is not None:
            logger.warning("refuses a %s stream of %s: %s", handshake.lane.value, context.peer(), reason)
            await context.write(self._reply(reason))
            return
        stream = self._register(handshake)
        self._on_introduced(handshake)
        try:
            # Not in the reader: grpc can end no call properly whose first answer was cancelled half-way.
            await context.write(self._reply(None))
            if stream.replaced_by is not None:
                await context.abort(grpc.StatusCode.ABORTED, stream.replaced_by)
            stream.reader = asyncio.get_running_loop().create_task(self._read(stream, context))
            await asyncio.wait([stream.reader])
            if stream.reader.cancelled():
                await context.abort(grpc.StatusCode.ABORTED, stream.replaced_by or "this node shuts down")
            failure = stream.reader.exception()
            if isinstance(failure, MalformedMessage):
                await self._abort_malformed(context, f"node {handshake.node_id}", failure)
            if isinstance(failure, grpc.aio.BaseError):
                logger.info("the stream of node %s at %s broke: %s", handshake.node_id, context.peer(), failure)
            elif failure is not None:
                raise failure
        finally:
            if stream.reader is not None:
                stream.reader.cancel()
            self._unregister(stream)

    async def _introduction(self, context: Any) -> Handshake | None:
        async with asyncio.timeout(self._introduction_timeout_s):
            raw = await context.read()
        if raw is EOF:
            return None
        frame = parse_frame(raw)
        handshake = handshake_from_wire(frame)
        if frame.messages:
            raise MalformedMessage(f"{len(frame.messages)} messages came with the handshake, before it was accepted")
        return handshake

    async def _read(self, stream: _Stream, context: Any) -> None:
        sender = stream.introduced.node_id
        while (raw := await context.read()) is not EOF:
            frame = parse_frame(raw)
            messages = decode_messages(frame)
            if stream.replaced_by is not None:
                return
            if frame.HasField("handshake"):
                self._reintroduce(stream, handshake_from_wire(frame))
            if messages:
                self._on_messages(sender, messages)

    def _reintroduce(self, stream: _Stream, handshake: Handshake) -> None:
        before = stream.introduced
        for field in ("protocol_version", "cluster_id", "node_id", "birth_id", "incarnation", "to_node_id", "lane"):
            was, now = getattr(before, field), getattr(handshake, field)
            if was != now:
                raise MalformedMessage(f"a stream that began with {field} {_shown(was)} goes on with {_shown(now)}")
        if handshake.log_sequence < before.log_sequence:
            raise MalformedMessage(f"its log went back from {before.log_sequence} to {handshake.log_sequence} (L11)")
        stream.introduced = handshake
        self._on_introduced(handshake)

    def _register(self, handshake: Handshake) -> _Stream:
        for lane in Lane:
            other = self._streams.get((handshake.node_id, lane))
            if other is None:
                continue
            if lane is handshake.lane or other.introduced.incarnation < handshake.incarnation:
                del self._streams[handshake.node_id, lane]
                _end(other, f"replaced by a newer stream, of incarnation {handshake.incarnation}")
        stream = self._streams[handshake.node_id, handshake.lane] = _Stream(handshake)
        return stream

    def _unregister(self, stream: _Stream) -> None:
        key = (stream.introduced.node_id, stream.introduced.lane)
        if self._streams.get(key) is not stream:
            return  # replaced: the peer is still there
        del self._streams[key]
        if stream.introduced.lane is Lane.PROTOCOL and not self._closing:
            self._on_lost(stream.introduced.node_id)

    def _reply(self, reason: str | None) -> bytes:
        return pb.HandshakeReply(
            accepted=reason is None, reason=reason or "", node_id=self._node_id, incarnation=self._incarnation
        ).SerializeToString()

    async def _abort_malformed(self, context: Any, who: str, error: MalformedMessage) -> None:
        reason = str(error)[:_REASON_CHARACTERS_MAX]
        logger.error("closes the stream of %s at %s: %s", who, context.peer(), reason)
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _end(stream: _Stream, reason: str) -> None:
    stream.replaced_by = reason
    if stream.reader is not None:
        stream.reader.cancel()
