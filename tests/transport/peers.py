"""Two ends of a link on real sockets of this machine, with everything they report written down."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc
import grpc.aio
from kvproto import paxos_pb2 as pb
from kvproto.command_pb2 import CommandBatch, Entry
from kvproto.etcd.rpc_pb2 import PutRequest

from kvstore.paxos.messages import CatchUp
from kvstore.paxos.types import NodeId, Slot
from kvstore.replica.messages import Forward
from kvstore.transport.codec import PeerMessage, encode, encode_frame
from kvstore.transport.handshake import Expectation, Handshake, Lane, handshake_to_wire, refusal
from kvstore.transport.link import PeerLink
from kvstore.transport.listener import PeerListener
from kvstore.transport.outbound import OutboundQueue
from kvstore.transport.wire import CHANNEL_OPTIONS, LINK_METHOD, SERVICE

ME, PEER, THIRD = NodeId(1), NodeId(2), NodeId(3)
CLUSTER = b"\xc1" * 8
BIRTHS = {node_id: bytes([node_id]) * 16 for node_id in (ME, PEER, THIRD)}
DEADLINE_S = 20.0


Conversation = Callable[[Any], Awaitable[None]]


def numbered(number: int) -> CatchUp:
    return CatchUp(Slot(number))


def forward(value: bytes) -> Forward:
    """A message of any size."""
    return Forward(1, CommandBatch(entries=[Entry(put=PutRequest(value=value))]))


def introduction(**changes: Any) -> Handshake:
    """Node 2 calls node 1."""
    caller = Handshake(
        cluster_id=CLUSTER,
        node_id=PEER,
        birth_id=BIRTHS[PEER],
        incarnation=1,
        configuration_epoch=1,
        log_sequence=0,
        to_node_id=ME,
        lane=Lane.PROTOCOL,
    )
    return dataclasses.replace(caller, **changes)


@dataclass
class Heard:
    """A listener of node 1 that remembers what it hears as a node would."""

    listener: PeerListener = field(init=False)
    messages: list[tuple[NodeId, PeerMessage]] = field(default_factory=list)
    batches: int = 0
    introduced: list[Handshake] = field(default_factory=list)
    lost: list[NodeId] = field(default_factory=list)
    incarnations: dict[NodeId, int] = field(default_factory=dict)
    sequences: dict[NodeId, int] = field(default_factory=dict)
    hello: Callable[[pb.HelloRequest], pb.HelloReply] = lambda _request: pb.HelloReply(node_id=ME)

    def verify(self, handshake: Handshake) -> str | None:
        return refusal(
            handshake,
            Expectation(
                node_id=ME,
                cluster_id=CLUSTER,
                members=tuple(BIRTHS),
                births=BIRTHS,
                incarnation_seen=self.incarnations.get(handshake.node_id, 0),
                log_sequence_seen=self.sequences.get(handshake.node_id, 0),
            ),
        )

    def on_introduced(self, handshake: Handshake) -> None:
        self.introduced.append(handshake)
        self.incarnations[handshake.node_id] = handshake.incarnation
        self.sequences[handshake.node_id] = handshake.log_sequence

    def on_messages(self, sender: NodeId, messages: list[PeerMessage]) -> None:
        self.batches += 1
        self.messages += [(sender, message) for message in messages]

    def slots(self, sender: NodeId = PEER) -> list[int]:
        return [message.from_slot for node_id, message in self.messages if node_id == sender]


@contextlib.asynccontextmanager
async def listening(*, port: int = 0, member: bool = True, **options: Any) -> AsyncIterator[tuple[Heard, str]]:
    """A listener and its address. One that is no ``member`` of a cluster yet takes no streams."""
    heard = Heard()
    heard.hello = options.pop("answer_hello", heard.hello)
    heard.listener = PeerListener(
        node_id=ME,
        incarnation=1,
        address=f"127.0.0.1:{port}",
        verify=heard.verify,
        answer_hello=heard.hello,
        on_introduced=heard.on_introduced,
        on_messages=heard.on_messages,
        on_lost=heard.lost.append,
        **options,
    )
    if member:
        heard.listener.take_streams()
    bound = await heard.listener.start()
    try:
        yield heard, f"127.0.0.1:{bound}"
    finally:
        await heard.listener.close(0)


@dataclass
class Told:
    """A link and what it told its owner."""

    link: PeerLink = field(init=False)
    handshake: Handshake
    events: list[tuple[str, NodeId]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def send(self, *numbers: int) -> None:
        for number in numbers:
            self.link.send(encode(numbered(number)))


@contextlib.asynccontextmanager
async def linked(
    address: str,
    *,
    start: bool = True,
    messages_max: int = 10_000,
    bytes_max: int = 1 << 26,
    peer: NodeId = ME,
    **changes: Any,
) -> AsyncIterator[Told]:
    """A link of node 2 to node 1. ``told.handshake`` is what it introduces itself with, and may be changed."""
    told = Told(introduction(**changes))
    lane = told.handshake.lane
    told.link = PeerLink(
        peer=ME,
        address=address,
        lane=lane,
        introduce=lambda: told.handshake,
        queue=OutboundQueue(lane, messages_max=messages_max, bytes_max=bytes_max),
        rng=Random(7),
        on_up=lambda node_id: told.events.append(("up", node_id)),
        on_lost=lambda node_id: told.events.append(("lost", node_id)),
        on_refused=lambda _node_id, reason: told.refusals.append(reason),
    )
    if start:
        told.link.start()
    try:
        yield told
    finally:
        await told.link.close(0)


@contextlib.asynccontextmanager
async def raw_stream(address: str) -> AsyncIterator[Any]:
    """A stream into a listener that says exactly the bytes it is given."""
    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        call = channel.stream_stream(LINK_METHOD, None, None)(None)
        try:
            yield call
        finally:
            call.cancel()


def first_frame(*messages: PeerMessage, **changes: Any) -> bytes:
    return encode_frame(map(encode, messages), handshake=handshake_to_wire(introduction(**changes)))


async def introduce(call: Any, **changes: Any) -> pb.HandshakeReply:
    await call.write(first_frame(**changes))
    return pb.HandshakeReply.FromString(await call.read())


async def ending(call: Any) -> tuple[grpc.StatusCode, str]:
    """How the listener ended the stream."""
    async with asyncio.timeout(DEADLINE_S):
        return await call.code(), await call.details()


@contextlib.asynccontextmanager
async def a_stranger(converse: Conversation) -> AsyncIterator[str]:
    """A peer port that behaves as ``converse`` does: what a broken or foreign peer might do."""

    async def handle(_requests: Any, context: Any) -> None:
        await converse(context)

    server = grpc.aio.server()
    handlers = {"Link": grpc.stream_stream_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def accept(node_id: int = ME) -> bytes:
    return pb.HandshakeReply(accepted=True, node_id=node_id, incarnation=1).SerializeToString()
