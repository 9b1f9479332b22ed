"""The messages of ``kvstore.paxos`` and ``kvstore.replica`` as bytes, and back.

The rooms inside speak frozen dataclasses, the wire speaks ``kvproto.paxos_pb2``; this module is the only place that
knows both. What it gives inward is *well formed*: every required part is there, ballots and slots are in range, lists
are ordered as the core may assume. So an assertion in the core means a wrong core, never a strange peer. Whether a
message is *right* (its ballot, its sender) is the core's to judge.

Protobufs are built in place: handing a finished message to another's constructor copies it, and an Accept may hold
hundreds of kilobytes. A frame is put together from messages already encoded, so that what goes to several peers is
encoded once: in protobuf's format the concatenation of fields is the message.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, assert_never

from google.protobuf.message import DecodeError
from kvproto import paxos_pb2 as pb

from kvstore.paxos.messages import (
    Accept,
    Accepted,
    AcceptedEntry,
    CatchUp,
    Decided,
    Heartbeat,
    HeartbeatReply,
    Message,
    Nack,
    Prepare,
    Promise,
    SnapshotOffer,
    Suspect,
    SuspectReply,
    Transfer,
)
from kvstore.paxos.types import ZERO_BALLOT, Application, Ballot, Configuration, NodeId, Noop, Slot, Value
from kvstore.replica.messages import Forward, ForwardReply, ReadIndex, ReadIndexReply, ReplicaMessage

__all__ = [
    "NUMBER_MAX",
    "MalformedMessage",
    "PeerMessage",
    "decode",
    "decode_messages",
    "encode",
    "encode_frame",
    "parse_frame",
]

PeerMessage = Message | ReplicaMessage

NUMBER_MAX = 2**63 - 1
"""Slots, rounds and epochs end up in SQLite, whose integers have a sign."""

_FRAME_MESSAGES_TAG = bytes([pb.Frame.MESSAGES_FIELD_NUMBER << 3 | 2])  # wire type 2: length, then bytes


class MalformedMessage(Exception):
    """A peer sent what no correct node of this protocol version sends."""


# --- encoding ---------------------------------------------------------------------------------------------------------


def encode(message: PeerMessage) -> bytes:  # noqa: PLR0915  one match over a closed set of messages is one idea
    """A serialized ``PeerMessage``. A number that its field cannot hold is a fault of ours: ValueError."""
    out = pb.PeerMessage()
    match message:
        case Accept():
            accept = out.accept
            _put_ballot(accept.ballot, message.ballot)
            accept.slot = message.slot
            _put_value(accept.value, message.value)
            accept.decided_end = message.decided_end
        case Accepted():
            accepted = out.accepted
            _put_ballot(accepted.ballot, message.ballot)
            accepted.start = message.start
            accepted.end = message.end
        case Heartbeat():
            heartbeat = out.heartbeat
            _put_ballot(heartbeat.ballot, message.ballot)
            heartbeat.decided_end = message.decided_end
            heartbeat.read_round = message.read_round
            heartbeat.sent_at = message.sent_at
        case HeartbeatReply():
            heartbeat_reply = out.heartbeat_reply
            _put_ballot(heartbeat_reply.ballot, message.ballot)
            heartbeat_reply.read_round = message.read_round
            heartbeat_reply.sent_at = message.sent_at
            heartbeat_reply.decided_end = message.decided_end
            heartbeat_reply.lease_s = message.lease_s
        case Forward():
            out.forward.number = message.number
            out.forward.batch.CopyFrom(message.batch)
        case ReadIndex():
            out.read_index.request = message.request
        case ReadIndexReply():
            read_index_reply = out.read_index_reply
            read_index_reply.request = message.request
            read_index_reply.confirmed = message.confirmed
            read_index_reply.index = message.index
        case ForwardReply():
            out.forward_reply.number = message.number
        case Decided():
            decided = out.decided
            for entry in message.entries:
                _put_entry(decided.values.add(), entry)
            decided.decided_end = message.decided_end
        case CatchUp():
            out.catch_up.from_slot = message.from_slot
        case SnapshotOffer():
            offer = out.snapshot_offer
            offer.first_slot = message.first_slot
            offer.decided_end = message.decided_end
        case Nack():
            _put_ballot(out.nack.promised, message.promised)
        case Prepare():
            prepare = out.prepare
            _put_ballot(prepare.ballot, message.ballot)
            prepare.from_slot = message.from_slot
            if message.released is not None:
                _put_ballot(prepare.released, message.released)
        case Promise():
            promise = out.promise
            _put_ballot(promise.ballot, message.ballot)
            promise.from_slot = message.from_slot
            for entry in message.accepted:
                _put_entry(promise.accepted.add(), entry)
            promise.last_page = message.next_slot is None
            promise.next_slot = message.next_slot or 0
            promise.decided_end = message.decided_end
            promise.first_slot = message.first_slot
        case Suspect():
            out.suspect.suspicion = message.suspicion
        case SuspectReply():
            suspect_reply = out.suspect_reply
            suspect_reply.suspicion = message.suspicion
            suspect_reply.hears_leader = message.hears_leader
            _put_ballot(suspect_reply.promised, message.promised)
            suspect_reply.decided_end = message.decided_end
        case Transfer():
            _put_ballot(out.transfer.ballot, message.ballot)
        case _:
            assert_never(message)
    return out.SerializeToString()


def encode_frame(encoded: Iterable[bytes], *, handshake: pb.Handshake | None = None) -> bytes:
    """One serialized ``Frame`` of messages that ``encode`` made, in their order."""
    parts = [] if handshake is None else [pb.Frame(handshake=handshake).SerializeToString()]
    for message in encoded:
        parts += (_FRAME_MESSAGES_TAG, _varint(len(message)), message)
    return b"".join(parts)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _put_ballot(out: pb.Ballot, ballot: Ballot) -> None:
    out.round, out.node_id = ballot


def _put_entry(out: pb.AcceptedValue | pb.DecidedValue, entry: AcceptedEntry) -> None:
    out.slot = entry.slot
    _put_ballot(out.ballot, entry.ballot)
    _put_value(out.value, entry.value)


def _put_value(out: pb.Value, value: Value) -> None:
    match value:
        case Application(data):
            out.application = data
        case Noop():
            out.noop.SetInParent()
        case Configuration():
            configuration = out.configuration
            configuration.epoch = value.epoch
            configuration.voters.extend(value.voters)
            configuration.learners.extend(value.learners)
            for node_id, address in value.addresses.items():
                configuration.addresses[node_id] = address
            configuration.lease_ms = value.lease_ms
        case _:
            assert_never(value)


# --- decoding ---------------------------------------------------------------------------------------------------------


def parse_frame(raw: bytes) -> pb.Frame:
    """The frame that ``raw`` is; its messages are not looked at yet."""
    try:
        return pb.Frame.FromString(raw)
    except DecodeError as error:
        raise MalformedMessage(f"{len(raw)} bytes are not a frame: {error}") from error


def decode_messages(frame: pb.Frame) -> list[PeerMessage]:
    """The frame's messages, in their order; MalformedMessage if any of them is malformed."""
    return [_from_wire(message) for message in frame.messages]


def decode(raw: bytes) -> PeerMessage:
    """What ``encode`` encoded; MalformedMessage for anything that it cannot have made."""
    try:
        message = pb.PeerMessage.FromString(raw)
    except DecodeError as error:
        raise MalformedMessage(f"{len(raw)} bytes are not a message: {error}") from error
    return _from_wire(message)


def _from_wire(message: pb.PeerMessage) -> PeerMessage:
    kind = message.WhichOneof("kind")
    if kind is None:
        raise MalformedMessage("a message of no known kind")
    return _DECODERS[kind](getattr(message, kind))


def _suspect(wire: pb.Suspect) -> Suspect:
    return Suspect(wire.suspicion)


def _suspect_reply(wire: pb.SuspectReply) -> SuspectReply:
    promised = _any_ballot(wire, "promised")  # a node that never promised says so
    return SuspectReply(wire.suspicion, wire.hears_leader, promised, _slot("decided_end", wire.decided_end))


def _prepare(wire: pb.Prepare) -> Prepare:
    released = _ballot(wire, "released") if wire.HasField("released") else None
    return Prepare(_ballot(wire), _slot("from_slot", wire.from_slot), released)


def _promise(wire: pb.Promise) -> Promise:
    from_slot = _slot("from_slot", wire.from_slot)
    next_slot = None if wire.last_page else _slot("next_slot", wire.next_slot)
    if next_slot is None and wire.next_slot:
        raise MalformedMessage(f"a last page of a promise that goes on at slot {wire.next_slot}")
    if next_slot is not None and next_slot <= from_slot:
        raise MalformedMessage(f"a page of a promise from slot {from_slot} goes on at slot {next_slot}")
    entries = _entries(wire.accepted)
    expected = int(from_slot)
    for entry in entries:
        if entry.slot < expected or (next_slot is not None and entry.slot >= next_slot):
            raise MalformedMessage(f"slot {entry.slot} is out of order in the page [{from_slot}, {next_slot})")
        expected = entry.slot + 1
    return Promise(
        ballot=_ballot(wire),
        from_slot=from_slot,
        accepted=entries,
        next_slot=next_slot,
        decided_end=_slot("decided_end", wire.decided_end),
        first_slot=_slot("first_slot", wire.first_slot),
    )


def _accept(wire: pb.Accept) -> Accept:
    return Accept(_ballot(wire), _value_slot(wire.slot), _value(wire), _slot("decided_end", wire.decided_end))


def _accepted(wire: pb.Accepted) -> Accepted:
    start, end = _slot("start", wire.start), _slot("end", wire.end)
    if start >= end:
        raise MalformedMessage(f"a run of accepted slots that is empty: [{start}, {end})")
    return Accepted(_ballot(wire), start, end)


def _nack(wire: pb.Nack) -> Nack:
    return Nack(_ballot(wire, "promised"))


def _heartbeat(wire: pb.Heartbeat) -> Heartbeat:
    return Heartbeat(
        _ballot(wire), _slot("decided_end", wire.decided_end), wire.read_round, _finite("sent_at", wire.sent_at)
    )


def _heartbeat_reply(wire: pb.HeartbeatReply) -> HeartbeatReply:
    return HeartbeatReply(
        _ballot(wire),
        wire.read_round,
        _finite("sent_at", wire.sent_at),
        _slot("decided_end", wire.decided_end),
        _finite("lease_s", wire.lease_s),
    )


def _catch_up(wire: pb.CatchUp) -> CatchUp:
    return CatchUp(_slot("from_slot", wire.from_slot))


def _decided(wire: pb.Decided) -> Decided:
    entries = _entries(wire.values)
    decided_end = _slot("decided_end", wire.decided_end)
    for before, entry in itertools.pairwise(entries):
        if entry.slot != before.slot + 1:
            raise MalformedMessage(f"a gap between the decided slots {before.slot} and {entry.slot}")
    if entries and entries[-1].slot >= decided_end:
        raise MalformedMessage(f"slot {entries[-1].slot} is sent as decided by a peer that decided up to {decided_end}")
    return Decided(entries, decided_end)


def _snapshot_offer(wire: pb.SnapshotOffer) -> SnapshotOffer:
    return SnapshotOffer(_slot("first_slot", wire.first_slot), _slot("decided_end", wire.decided_end))


def _transfer(wire: pb.Transfer) -> Transfer:
    return Transfer(_ballot(wire))


def _forward(wire: pb.Forward) -> Forward:
    return Forward(wire.number, wire.batch)


def _forward_reply(wire: pb.ForwardReply) -> ForwardReply:
    return ForwardReply(wire.number)


def _read_index(wire: pb.ReadIndex) -> ReadIndex:
    return ReadIndex(wire.request)


def _read_index_reply(wire: pb.ReadIndexReply) -> ReadIndexReply:
    return ReadIndexReply(wire.request, wire.confirmed, _slot("index", wire.index))


_DECODERS: dict[str, Callable[[Any], PeerMessage]] = {
    "suspect": _suspect,
    "suspect_reply": _suspect_reply,
    "prepare": _prepare,
    "promise": _promise,
    "accept": _accept,
    "accepted": _accepted,
    "nack": _nack,
    "heartbeat": _heartbeat,
    "heartbeat_reply": _heartbeat_reply,
    "catch_up": _catch_up,
    "decided": _decided,
    "snapshot_offer": _snapshot_offer,
    "transfer": _transfer,
    "forward": _forward,
    "forward_reply": _forward_reply,
    "read_index": _read_index,
    "read_index_reply": _read_index_reply,
}
assert set(_DECODERS) == {field.name for field in pb.PeerMessage.DESCRIPTOR.fields}, "every kind can be decoded"


def _slot(name: str, number: int) -> Slot:
    if number > NUMBER_MAX:
        raise MalformedMessage(f"{name} {number} exceeds {NUMBER_MAX}")
    return Slot(number)


def _value_slot(number: int) -> Slot:
    """A slot that has a value: the watermark behind it must be a number too."""
    if number >= NUMBER_MAX:
        raise MalformedMessage(f"slot {number} exceeds {NUMBER_MAX - 1}")
    return Slot(number)


def _finite(name: str, seconds: float) -> float:
    if not math.isfinite(seconds):
        raise MalformedMessage(f"{name} is {seconds}")
    return seconds


def _any_ballot(wire: Any, name: str) -> Ballot:
    if not wire.HasField(name):
        raise MalformedMessage(f"{wire.DESCRIPTOR.name} without {name}")
    ballot = getattr(wire, name)
    if ballot.round > NUMBER_MAX:
        raise MalformedMessage(f"round {ballot.round} exceeds {NUMBER_MAX}")
    if (ballot.round == 0) != (ballot.node_id == 0):
        raise MalformedMessage(f"no node can hold ballot {ballot.round}.{ballot.node_id}")
    return Ballot(ballot.round, NodeId(ballot.node_id))


def _ballot(wire: Any, name: str = "ballot") -> Ballot:
    ballot = _any_ballot(wire, name)
    if ballot == ZERO_BALLOT:
        raise MalformedMessage(f"{wire.DESCRIPTOR.name} at ballot {ballot}, in which nobody proposes")
    return ballot


def _entries(wires: Sequence[pb.AcceptedValue] | Sequence[pb.DecidedValue]) -> tuple[AcceptedEntry, ...]:
    return tuple(AcceptedEntry(_value_slot(wire.slot), _ballot(wire), _value(wire)) for wire in wires)


def _value(wire: Any) -> Value:
    """The field ``value`` of ``wire``: an Accept, an AcceptedValue or a DecidedValue."""
    value: pb.Value = wire.value
    match value.WhichOneof("kind"):
        case "application":
            return Application(value.application)
        case "noop":
            return Noop()
        case "configuration":
            return _configuration(value.configuration)
        case _:
            raise MalformedMessage(f"{wire.DESCRIPTOR.name} in slot {wire.slot} without a value")


def _configuration(wire: pb.Configuration) -> Configuration:
    voters, learners = tuple(wire.voters), tuple(wire.learners)
    if not voters or list(voters) != sorted(set(voters)):
        raise MalformedMessage(f"voters must be some, sorted and distinct: {voters}")
    if len(set(learners)) != len(learners) or set(voters) & set(learners):
        raise MalformedMessage(f"learners must be distinct and not vote: {learners} beside {voters}")
    if 0 in voters or 0 in learners or 0 in wire.addresses:
        raise MalformedMessage("a configuration with node 0, which is nobody")
    if wire.epoch > NUMBER_MAX:
        raise MalformedMessage(f"epoch {wire.epoch} exceeds {NUMBER_MAX}")
    return Configuration(
        epoch=wire.epoch,
        voters=tuple(NodeId(voter) for voter in voters),
        learners=tuple(NodeId(learner) for learner in learners),
        # Sorted: a map arrives in no order, and whoever encodes this again must get one answer (L8).
        addresses={NodeId(node_id): wire.addresses[node_id] for node_id in sorted(wire.addresses)},
        lease_ms=wire.lease_ms,
    )
