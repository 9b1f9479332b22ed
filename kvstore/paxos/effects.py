"""What one drain of the core gives its shell to do."""

import enum
from dataclasses import dataclass

from kvstore.paxos.durable import Write
from kvstore.paxos.messages import Envelope
from kvstore.paxos.types import Ballot, NodeId, ProposalId, ReadId, Slot, Value

__all__ = [
    "DecidedValue",
    "Effects",
    "Fate",
    "LeadershipChanged",
    "LogRead",
    "ProposalLost",
    "ReadFailed",
    "ReadReady",
    "Role",
    "Status",
]


class Role(enum.Enum):
    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Fate(enum.Enum):
    NOT_APPLIED = "not applied"
    """Provably: another value is decided in its only slot."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DecidedValue:
    """``proposal_id`` is set where this node proposed exactly this value in this process."""

    slot: Slot
    value: Value
    proposal_id: ProposalId | None


@dataclass(frozen=True, slots=True)
class ProposalLost:
    proposal_id: ProposalId
    fate: Fate


@dataclass(frozen=True, slots=True)
class ReadReady:
    """A state with ``applied_end`` ≥ ``index`` may answer the read (L7)."""

    read_id: ReadId
    index: Slot


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """Leadership was lost before a quorum confirmed it; confirm afresh with whoever leads."""

    read_id: ReadId


@dataclass(frozen=True, slots=True)
class LogRead:
    """A replica asks for decided slots in [start, end) that the core keeps no longer: answer it from the log."""

    requester: NodeId
    start: Slot
    end: Slot


@dataclass(frozen=True, slots=True)
class LeadershipChanged:
    """``leader`` is whom this node now believes to lead, in ``ballot``."""

    leader: NodeId | None
    ballot: Ballot
    role: Role


@dataclass(frozen=True, slots=True)
class Effects:
    """``messages`` are safe to send now; ``write`` is one atomic batch; ``decided`` is in slot order without gaps."""

    write: Write | None
    messages: tuple[Envelope, ...]
    decided: tuple[DecidedValue, ...]
    proposals_lost: tuple[ProposalLost, ...]
    reads_ready: tuple[ReadReady, ...]
    reads_failed: tuple[ReadFailed, ...]
    log_reads: tuple[LogRead, ...]
    leadership: LeadershipChanged | None


@dataclass(frozen=True, slots=True)
class Status:
    """A look at one node. ``promised`` is durable; ``window_free`` is how many more slots may be proposed now."""

    node_id: NodeId
    role: Role
    leader: NodeId | None
    ballot: Ballot
    promised: Ballot
    decided_end: Slot
    first_slot: Slot
    configuration_epoch: int
    window_free: int
