"""What a turn asks its shell to do, in the order in which it asks, and how clients are answered.

The shell performs steps and decides nothing: the same replica runs over real disks and sockets and in the simulator.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from kvstore.mvcc.results import Result
from kvstore.paxos.durable import Write
from kvstore.paxos.effects import LeadershipChanged, LogRead
from kvstore.paxos.messages import Message
from kvstore.paxos.types import NodeId
from kvstore.replica.messages import ReplicaMessage

__all__ = [
    "Answer",
    "AnswerAll",
    "Answered",
    "Commit",
    "LeadershipStep",
    "Outgoing",
    "ReadAllowed",
    "ReadLog",
    "Send",
    "SessionAnswers",
    "SessionOpenedHere",
    "Step",
    "Undone",
    "WriteFailed",
]


@dataclass(frozen=True, slots=True)
class Outgoing:
    to: NodeId
    message: Message | ReplicaMessage


@dataclass(frozen=True, slots=True)
class Send:
    """Safe to send now. May be lost: nothing depends on it but progress."""

    messages: Sequence[Outgoing]


@dataclass(frozen=True, slots=True)
class Commit:
    """Make ``write`` durable, then report ``persisted(write.write_id)``. Writes must become durable in this order."""

    write: Write


@dataclass(frozen=True, slots=True)
class ReadLog:
    """Answer the replica that asks with what the log has (``Replica.log_page``)."""

    read: LogRead


class Undone(enum.Enum):
    """Why a write was not answered with a result."""

    NOT_PROPOSED = "not proposed"
    """Certainly: it may be sent again."""
    UNKNOWN = "unknown"
    """It may have been applied, may still be, or may never be."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The entry was applied on this node, with this reply or this refusal."""

    ticket: int
    result: Result


@dataclass(frozen=True, slots=True)
class WriteFailed:
    ticket: int
    why: Undone


@dataclass(frozen=True, slots=True)
class ReadAllowed:
    """From now on the local state is recent enough to answer this read (L7)."""

    ticket: int


@dataclass(frozen=True, slots=True)
class SessionOpenedHere:
    """The session that was asked for under ``number`` is ``session``."""

    number: int
    session: int


@dataclass(frozen=True, slots=True)
class SessionAnswers:
    """Requests of an attached session that were applied on this node: (sequence, result)."""

    session: int
    answers: Sequence[tuple[int, Result]]


Answer = Answered | WriteFailed | ReadAllowed | SessionOpenedHere | SessionAnswers


@dataclass(frozen=True, slots=True)
class AnswerAll:
    answers: Sequence[Answer]


@dataclass(frozen=True, slots=True)
class LeadershipStep:
    change: LeadershipChanged


Step = Send | Commit | ReadLog | AnswerAll | LeadershipStep
