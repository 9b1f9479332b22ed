"""What happens in a run, as typed events: a trace is made of these, and diagrams, stories and counters of traces.

Every event has ``at``, the virtual time in seconds. A message has a number for its whole way; a copy that the network
makes has a number of its own. ``causes`` are the numbers of the messages that the sender had taken in the turn in which
it sent this one: none where a timer, a client or a disk was the reason.
"""

import enum
from dataclasses import dataclass

from kvstore.mvcc.results import Result
from kvstore.paxos.durable import Write
from kvstore.paxos.effects import Role
from kvstore.paxos.messages import Message
from kvstore.paxos.types import Ballot, NodeId, Slot, Value
from kvstore.replica.messages import ReplicaMessage
from kvstore.testing.checking.history import Outcome
from kvstore.testing.checking.model import Action

__all__ = [
    "AnyMessage",
    "ClientCalled",
    "ClientReturned",
    "CommitLost",
    "CommitPersisted",
    "CommitStarted",
    "Consistency",
    "Decided",
    "DropCause",
    "Event",
    "FaultBegan",
    "FaultEnded",
    "LeadershipChanged",
    "LinkLost",
    "LinkUp",
    "MessageDelivered",
    "MessageDropped",
    "MessageDuplicated",
    "MessageSent",
    "PhaseBegan",
    "ProcessCrashed",
    "ProcessPaused",
    "ProcessResumed",
    "ProcessStarted",
    "SlotsApplied",
    "TimerFired",
]

AnyMessage = Message | ReplicaMessage


class DropCause(enum.Enum):
    LOSS = "lost"
    CUT = "the link is cut"
    RESET = "the connection broke"
    NOT_CONNECTED = "not connected"
    NODE_DOWN = "the receiver is down"
    QUEUE_FULL = "the receiver's queue is full"


class Consistency(enum.Enum):
    LINEARIZABLE = "linearizable"
    SERIALIZABLE = "serializable"


@dataclass(frozen=True, slots=True)
class MessageSent:
    at: float
    number: int
    sender: NodeId
    to: NodeId
    message: AnyMessage
    causes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MessageDelivered:
    """It reached the receiver's inbox; ``sent_at`` is when it left."""

    at: float
    number: int
    sender: NodeId
    to: NodeId
    message: AnyMessage
    sent_at: float


@dataclass(frozen=True, slots=True)
class MessageDropped:
    at: float
    number: int
    sender: NodeId
    to: NodeId
    message: AnyMessage
    sent_at: float
    cause: DropCause


@dataclass(frozen=True, slots=True)
class MessageDuplicated:
    """The network will also deliver a copy, under the number ``copy``."""

    at: float
    number: int
    copy: int
    sender: NodeId
    to: NodeId
    message: AnyMessage


@dataclass(frozen=True, slots=True)
class CommitStarted:
    at: float
    node: NodeId
    write: Write


@dataclass(frozen=True, slots=True)
class CommitPersisted:
    """All of ``write`` is durable. ``reported``: the process lives to hear of it."""

    at: float
    node: NodeId
    write: Write
    reported: bool


@dataclass(frozen=True, slots=True)
class CommitLost:
    """The process ended and nothing of ``write`` is on the disk."""

    at: float
    node: NodeId
    write: Write


@dataclass(frozen=True, slots=True)
class TimerFired:
    at: float
    node: NodeId


@dataclass(frozen=True, slots=True)
class Decided:
    """The node knows that ``value`` is chosen in ``slot``."""

    at: float
    node: NodeId
    slot: Slot
    value: Value


@dataclass(frozen=True, slots=True)
class SlotsApplied:
    """The slots [start, end) are in the node's state, in one transaction; ``state_hash`` is that at ``end``."""

    at: float
    node: NodeId
    start: Slot
    end: Slot
    state_hash: bytes


@dataclass(frozen=True, slots=True)
class LeadershipChanged:
    """Whom the node now believes to lead, and in which role it is itself."""

    at: float
    node: NodeId
    role: Role
    leader: NodeId | None
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """``promised`` and ``decided_end`` as recovered from the disk."""

    at: float
    node: NodeId
    incarnation: int
    promised: Ballot
    decided_end: Slot


@dataclass(frozen=True, slots=True)
class ProcessCrashed:
    """``applied_end`` is that of the state that the disk keeps: after a power loss an older one may be found."""

    at: float
    node: NodeId
    why: str
    applied_end: Slot


@dataclass(frozen=True, slots=True)
class ProcessPaused:
    at: float
    node: NodeId


@dataclass(frozen=True, slots=True)
class ProcessResumed:
    at: float
    node: NodeId


@dataclass(frozen=True, slots=True)
class LinkUp:
    """``node`` was told that it is connected to ``peer``."""

    at: float
    node: NodeId
    peer: NodeId


@dataclass(frozen=True, slots=True)
class LinkLost:
    at: float
    node: NodeId
    peer: NodeId


@dataclass(frozen=True, slots=True)
class FaultBegan:
    """``number`` is its place in the run's plan; ``kind`` and ``text`` say what it does, until a ``FaultEnded``."""

    at: float
    number: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class FaultEnded:
    at: float
    number: int
    kind: str


@dataclass(frozen=True, slots=True)
class ClientCalled:
    """One attempt, to one node. ``action`` is None for the opening of a session."""

    at: float
    client: str
    call: int
    node: NodeId
    action: Action | None
    consistency: Consistency
    session: int
    sequence: int


@dataclass(frozen=True, slots=True)
class ClientReturned:
    """How the attempt ended for the client; a ``Result`` that is no ``Outcome`` answers the opening of a session."""

    at: float
    client: str
    call: int
    node: NodeId
    outcome: Outcome | Result


@dataclass(frozen=True, slots=True)
class PhaseBegan:
    """``safety``, then ``liveness``."""

    at: float
    phase: str


Event = (
    MessageSent
    | MessageDelivered
    | MessageDropped
    | MessageDuplicated
    | CommitStarted
    | CommitPersisted
    | CommitLost
    | TimerFired
    | Decided
    | SlotsApplied
    | LeadershipChanged
    | ProcessStarted
    | ProcessCrashed
    | ProcessPaused
    | ProcessResumed
    | LinkUp
    | LinkLost
    | FaultBegan
    | FaultEnded
    | ClientCalled
    | ClientReturned
    | PhaseBegan
)
