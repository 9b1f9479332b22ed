"""Events in words: one line each, the same for the same run, on every machine."""

from typing import assert_never

from kvproto.command_pb2 import CommandBatch, Entry

from kvstore.paxos.durable import AcceptRecord, LearnRecord, PromiseRecord, Record
from kvstore.paxos.messages import (
    Accept,
    Accepted,
    AcceptedEntry,
    CatchUp,
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
from kvstore.paxos.messages import Decided as DecidedMessage
from kvstore.paxos.types import Application, Configuration, Noop, Value
from kvstore.replica.messages import Forward, ForwardReply, ReadIndex, ReadIndexReply
from kvstore.testing.checking.history import Failed, Unknown
from kvstore.testing.checking.model import Action, CompareAndSwap, Delete, Put, Range, Response
from kvstore.testing.sim.events import (
    AnyMessage,
    ClientCalled,
    ClientReturned,
    CommitLost,
    CommitPersisted,
    CommitStarted,
    Decided,
    Event,
    FaultBegan,
    FaultEnded,
    LeadershipChanged,
    LinkLost,
    LinkUp,
    MessageDelivered,
    MessageDropped,
    MessageDuplicated,
    MessageSent,
    PhaseBegan,
    ProcessCrashed,
    ProcessPaused,
    ProcessResumed,
    ProcessStarted,
    SlotsApplied,
    TimerFired,
)

__all__ = ["describe_action", "describe_message", "describe_value", "narrate"]


def narrate(event: Event) -> str:
    """The event as one line that begins with its time."""
    return f"{event.at:11.6f} {_what(event)}"


def _what(event: Event) -> str:
    match event:
        case MessageSent():
            causes = f" after {' '.join(f'#{cause}' for cause in event.causes)}" if event.causes else ""
            return f"{event.sender} → {event.to} #{event.number} {describe_message(event.message)}{causes}"
        case MessageDelivered():
            return f"{event.to} ← {event.sender} #{event.number} {describe_message(event.message)}"
        case MessageDropped():
            return f"{event.sender} ↛ {event.to} #{event.number} {describe_message(event.message)}: {event.cause.value}"
        case MessageDuplicated():
            return f"{event.sender} ⇉ {event.to} #{event.copy} is a copy of #{event.number}"
        case CommitStarted():
            return f"{event.node} writes {_write(event.write.records)} (write {event.write.write_id})"
        case CommitPersisted():
            unreported = "" if event.reported else ", which nobody hears of"
            return f"{event.node} has write {event.write.write_id} on disk{unreported}"
        case CommitLost():
            return f"{event.node} loses write {event.write.write_id}: {_write(event.write.records)}"
        case TimerFired():
            return f"{event.node} timer"
        case Decided():
            return f"{event.node} decides slot {event.slot}: {describe_value(event.value)}"
        case SlotsApplied():
            return f"{event.node} has applied slots [{event.start}, {event.end}), state {event.state_hash.hex()[:12]}"
        case LeadershipChanged():
            whom = "nobody" if event.leader is None else f"node {event.leader}"
            return f"{event.node} is {event.role.value} in ballot {event.ballot}, leader is {whom}"
        case ProcessStarted():
            return (
                f"{event.node} starts, incarnation {event.incarnation}: promised {event.promised}, "
                f"decided below {event.decided_end}"
            )
        case ProcessCrashed():
            return f"{event.node} crashes ({event.why}); its state is at {event.applied_end}"
        case ProcessPaused():
            return f"{event.node} is paused"
        case ProcessResumed():
            return f"{event.node} goes on"
        case LinkUp():
            return f"{event.node} is connected to {event.peer}"
        case LinkLost():
            return f"{event.node} hears that its connection to {event.peer} broke"
        case FaultBegan():
            return f"fault {event.number} {event.kind}: {event.text}"
        case FaultEnded():
            return f"fault {event.number} {event.kind} is over"
        case ClientCalled():
            what = "open a session" if event.action is None else describe_action(event.action)
            session = f" ({event.session}, {event.sequence})" if event.session else ""
            return f"{event.client} → {event.node} call {event.call}{session} {what} {event.consistency.value}"
        case ClientReturned():
            return f"{event.client} ← {event.node} call {event.call} {_outcome(event.outcome)}"
        case PhaseBegan():
            return f"phase of {event.phase}"
        case _:
            assert_never(event)


def describe_message(message: AnyMessage) -> str:
    """A message with its ballot and slots."""
    match message:
        case Suspect(suspicion):
            return f"Suspect {suspicion}"
        case SuspectReply():
            hears = "hears a leader" if message.hears_leader else "hears no leader"
            return f"SuspectReply {message.suspicion}: {hears}, promised {message.promised}"
        case Prepare(ballot, from_slot):
            return f"Prepare {ballot} from slot {from_slot}"
        case Promise():
            more = "" if message.next_slot is None else f", more from {message.next_slot}"
            return (
                f"Promise {message.ballot} from slot {message.from_slot}: {_entries(message.accepted)}{more}, "
                f"decided below {message.decided_end}"
            )
        case Accept():
            return (
                f"Accept {message.ballot} slot {message.slot} {describe_value(message.value)}, "
                f"decided below {message.decided_end}"
            )
        case Accepted(ballot, start, end):
            return f"Accepted {ballot} slots [{start}, {end})"
        case Nack(promised):
            return f"Nack, promised {promised}"
        case Heartbeat():
            return f"Heartbeat {message.ballot} round {message.read_round}, decided below {message.decided_end}"
        case HeartbeatReply():
            reply = f"HeartbeatReply {message.ballot} round {message.read_round}, decided below {message.decided_end}"
            return reply + (f", lease of {message.lease_s * 1000:g} ms" if message.lease_s else "")
        case CatchUp(from_slot):
            return f"CatchUp from slot {from_slot}"
        case DecidedMessage(entries, decided_end):
            return f"Decided {_entries(entries)}, decided below {decided_end}"
        case SnapshotOffer(first_slot, decided_end):
            return f"SnapshotOffer from slot {first_slot}, decided below {decided_end}"
        case Transfer(ballot):
            return f"Transfer {ballot}"
        case Forward(number, batch):
            return f"Forward {number}: {', '.join(map(_entry, batch.entries))}"
        case ForwardReply(number):
            return f"ForwardReply {number}: not proposed"
        case ReadIndex(request):
            return f"ReadIndex {request}"
        case ReadIndexReply(request, confirmed, index):
            return f"ReadIndexReply {request}: " + (f"read at {index}" if confirmed else "not confirmed")
        case _:
            assert_never(message)


def describe_value(value: Value) -> str:
    match value:
        case Noop():
            return "no-op"
        case Configuration():
            return f"configuration {value.epoch} of voters {' '.join(map(str, value.voters))}"
        case Application(data):
            batch = CommandBatch.FromString(data)
            origin = batch.origin
            entries = ", ".join(map(_entry, batch.entries))
            return f"batch {origin.node_id}.{origin.incarnation}.{origin.number} [{entries}]"
        case _:
            assert_never(value)


def describe_action(action: Action) -> str:
    match action:
        case Put(key, value):
            return f"put {key!r} {value!r}"
        case Range(key, range_end):
            return f"range {key!r}" + (f" to {range_end!r}" if range_end else "")
        case Delete(key, range_end):
            return f"delete {key!r}" + (f" to {range_end!r}" if range_end else "")
        case CompareAndSwap():
            return f"cas {action.key!r} {action.compare} {action.expected!r} to {action.value!r}"
        case _:
            assert_never(action)


def _entries(entries: tuple[AcceptedEntry, ...]) -> str:
    if not entries:
        return "nothing"
    return ", ".join(f"slot {e.slot} {e.ballot} {describe_value(e.value)}" for e in entries)


def _entry(entry: Entry) -> str:
    session = f"({entry.session}, {entry.sequence}) " if entry.session else ""
    kind = entry.WhichOneof("command")
    match kind:
        case "put":
            return f"{session}put {entry.put.key!r} {entry.put.value!r}"
        case "delete_range":
            return f"{session}delete {entry.delete_range.key!r}"
        case "txn":
            return f"{session}cas {entry.txn.compare[0].key!r}" if entry.txn.compare else f"{session}txn"
        case _:
            return f"{session}{kind}"


def _write(records: tuple[Record, ...]) -> str:
    return ", ".join(map(_record, records))


def _record(record: Record) -> str:
    match record:
        case PromiseRecord(ballot):
            return f"promise {ballot}"
        case AcceptRecord(slot, ballot):
            return f"accept slot {slot} {ballot}"
        case LearnRecord(slot, ballot):
            return f"learn slot {slot} {ballot}"
        case _:
            assert_never(record)


def _outcome(outcome: object) -> str:
    match outcome:
        case Response():
            parts = [f"revision {outcome.revision}"]
            if outcome.succeeded is not None:
                parts.append("succeeded" if outcome.succeeded else "did not compare")
            if outcome.count is not None:
                parts.append(f"{outcome.count} entries")
            return ", ".join(parts)
        case Failed(reason):
            return f"failed: {reason}"
        case Unknown(reason):
            return f"unknown: {reason}"
        case _:
            return str(outcome)
