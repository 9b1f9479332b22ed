"""Messages and values in the few words that fit on a line or on an arrow, and the kinds that they are coloured by."""

import enum
from collections.abc import Iterable
from typing import assert_never

from kvproto.command_pb2 import CommandBatch, Entry

from kvstore.mvcc.results import Result
from kvstore.paxos.messages import (
    Accept,
    Accepted,
    AcceptedEntry,
    CatchUp,
    Decided,
    Heartbeat,
    HeartbeatReply,
    Nack,
    Prepare,
    Promise,
    SnapshotOffer,
    Suspect,
    SuspectReply,
    Transfer,
)
from kvstore.paxos.types import Application, Configuration, Noop, Slot, Value
from kvstore.replica.messages import Forward, ForwardReply, ReadIndex, ReadIndexReply
from kvstore.testing.checking.history import Failed, Outcome, Unknown
from kvstore.testing.checking.model import Action, CompareAndSwap, Delete, Put, Range, Response
from kvstore.testing.sim.events import AnyMessage

__all__ = [
    "Kind",
    "action_words",
    "kind_of",
    "message_words",
    "outcome_words",
    "slots_words",
    "value_words",
]


class Kind(enum.Enum):
    """What a message is for. The value is how legends name it."""

    PREPARE = "Prepare"
    PROMISE = "Promise"
    ACCEPT = "Accept"
    ACCEPTED = "Accepted"
    NACK = "Nack"
    SUSPECT = "Suspect, SuspectReply"
    HEARTBEAT = "Heartbeat, HeartbeatReply"
    CATCH_UP = "CatchUp, Decided"
    FORWARD = "Forward, ReadIndex"
    TRANSFER = "Transfer"
    CLIENT = "clients"


def kind_of(message: AnyMessage) -> Kind:
    match message:
        case Prepare():
            return Kind.PREPARE
        case Promise():
            return Kind.PROMISE
        case Accept():
            return Kind.ACCEPT
        case Accepted():
            return Kind.ACCEPTED
        case Nack():
            return Kind.NACK
        case Suspect() | SuspectReply():
            return Kind.SUSPECT
        case Heartbeat() | HeartbeatReply():
            return Kind.HEARTBEAT
        case CatchUp() | Decided() | SnapshotOffer():
            return Kind.CATCH_UP
        case Forward() | ForwardReply() | ReadIndex() | ReadIndexReply():
            return Kind.FORWARD
        case Transfer():
            return Kind.TRANSFER
        case _:
            assert_never(message)


def message_words(message: AnyMessage) -> str:
    match message:
        case Suspect():
            return "Suspect: I hear no leader, do you?"
        case SuspectReply():
            return "SuspectReply: " + ("I hear a leader" if message.hears_leader else "neither do I")
        case Prepare(ballot, from_slot):
            return f"Prepare {ballot} from slot {from_slot}"
        case Promise():
            more = "" if message.next_slot is None else ", and more"
            return f"Promise {message.ballot}: accepted {_entries(message.accepted)}{more}"
        case Accept():
            return f"Accept {message.ballot} slot {message.slot}: {value_words(message.value)}"
        case Accepted(ballot, start, end):
            return f"Accepted {ballot} {slots_words(start, end)}"
        case Nack(promised):
            return f"Nack: promised {promised}"
        case Heartbeat():
            return f"Heartbeat {message.ballot}: decided below {message.decided_end}"
        case HeartbeatReply():
            return f"HeartbeatReply {message.ballot}: decided below {message.decided_end}"
        case CatchUp(from_slot):
            return f"CatchUp from slot {from_slot}"
        case Decided(entries):
            return f"Decided: {_entries(entries)}"
        case SnapshotOffer(first_slot):
            return f"SnapshotOffer from slot {first_slot}"
        case Transfer(ballot):
            return f"Transfer {ballot}: lead, please"
        case Forward():
            return f"Forward: {_batch(message.batch)}"
        case ForwardReply():
            return "ForwardReply: not proposed"
        case ReadIndex():
            return "ReadIndex"
        case ReadIndexReply():
            return "ReadIndexReply: " + (f"read at {message.index}" if message.confirmed else "not confirmed")
        case _:
            assert_never(message)


def value_words(value: Value) -> str:
    match value:
        case Noop():
            return "no-op"
        case Configuration():
            return f"configuration {value.epoch}"
        case Application(data):
            return _batch(CommandBatch.FromString(data))
        case _:
            assert_never(value)


def action_words(action: Action | None) -> str:
    match action:
        case None:
            return "open a session"
        case Put(key, value):
            return f"put {_text(key)}={_text(value)}"
        case Range(key):
            return f"read {_text(key)}"
        case Delete(key):
            return f"delete {_text(key)}"
        case CompareAndSwap():
            return f"compare and swap {_text(action.key)}"
        case _:
            assert_never(action)


def outcome_words(outcome: Outcome | Result) -> str:
    match outcome:
        case Response():
            return f"done, revision {outcome.revision}"
        case Failed(reason):
            return f"certainly not done: {reason}"
        case Unknown(reason):
            return f"nobody knows: {reason}"
        case _:
            return type(outcome).__name__


def slots_words(start: Slot, end: Slot) -> str:
    """Of the slots [start, end)."""
    return f"slot {start}" if end - start == 1 else f"slots {start} to {end - 1}"


def _entries(entries: Iterable[AcceptedEntry]) -> str:
    listed = [f"slot {e.slot} at {e.ballot} {value_words(e.value)}" for e in entries]
    return ", ".join(listed) or "nothing"


def _batch(batch: CommandBatch) -> str:
    return ", ".join(map(_entry, batch.entries))


def _entry(entry: Entry) -> str:
    match entry.WhichOneof("command"):
        case "put":
            return f"put {_text(entry.put.key)}={_text(entry.put.value)}"
        case "delete_range":
            return f"delete {_text(entry.delete_range.key)}"
        case "txn":
            return f"compare and swap {_text(entry.txn.compare[0].key)}" if entry.txn.compare else "transaction"
        case other:
            return str(other).replace("_", " ")


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
