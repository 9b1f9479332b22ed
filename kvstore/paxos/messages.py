"""What nodes say to each other: one type per message, every field required.

Which law a message serves, and when it may leave a node, is told in ``docs/protocol.md``; the durability gate itself is
in ``kvstore.paxos.gate``.
"""

from dataclasses import dataclass

from kvstore.paxos.types import Ballot, NodeId, Slot, Value

__all__ = [
    "Accept",
    "Accepted",
    "AcceptedEntry",
    "CatchUp",
    "Decided",
    "Envelope",
    "Heartbeat",
    "HeartbeatReply",
    "Message",
    "Nack",
    "Prepare",
    "Promise",
    "SnapshotOffer",
    "Suspect",
    "SuspectReply",
    "Transfer",
]


@dataclass(frozen=True, slots=True)
class Suspect:
    """Asks: I hear no leader, do you? Needs no disk and grants nothing."""

    suspicion: int


@dataclass(frozen=True, slots=True)
class SuspectReply:
    """``promised`` lets the candidate choose a round that can win; ``decided_end`` lets it catch up."""

    suspicion: int
    hears_leader: bool
    promised: Ballot
    decided_end: Slot


@dataclass(frozen=True, slots=True)
class Prepare:
    """Phase 1a for all slots ≥ ``from_slot``. Asks for the page of accepted values that begins there.

    ``released``: the ballot whose leader asked for this candidacy, and reads by its lease no longer.
    """

    ballot: Ballot
    from_slot: Slot
    released: Ballot | None = None


@dataclass(frozen=True, slots=True)
class AcceptedEntry:
    """A slot with a value: in a ``Promise`` what was accepted, in a ``Decided`` what is chosen."""

    slot: Slot
    ballot: Ballot
    value: Value


@dataclass(frozen=True, slots=True)
class Promise:
    """Phase 1b, one page. It counts only once its last page (``next_slot`` is None) has come."""

    ballot: Ballot
    from_slot: Slot
    accepted: tuple[AcceptedEntry, ...]
    next_slot: Slot | None
    decided_end: Slot
    first_slot: Slot


@dataclass(frozen=True, slots=True)
class Accept:
    """Phase 2a. ``decided_end`` tells the acceptor what the leader knows to be decided."""

    ballot: Ballot
    slot: Slot
    value: Value
    decided_end: Slot


@dataclass(frozen=True, slots=True)
class Accepted:
    """Phase 2b for every slot in [start, end): durable here at exactly this ballot. A run never spans a hole."""

    ballot: Ballot
    start: Slot
    end: Slot


@dataclass(frozen=True, slots=True)
class Nack:
    """``promised`` forbids what was asked. A hint: it needs no disk."""

    promised: Ballot


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """``read_round`` numbers leadership confirmations; ``sent_at`` is the leader's clock, echoed back to it."""

    ballot: Ballot
    decided_end: Slot
    read_round: int
    sent_at: float


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """``lease_s``: for how long, from its own receipt of the heartbeat, the sender hears no other candidate."""

    ballot: Ballot
    read_round: int
    sent_at: float
    decided_end: Slot
    lease_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Asks for decided slots from ``from_slot`` on."""

    from_slot: Slot


@dataclass(frozen=True, slots=True)
class Decided:
    """Chosen values in slot order without gaps; ``decided_end`` is the sender's, so that the receiver may ask on."""

    entries: tuple[AcceptedEntry, ...]
    decided_end: Slot


@dataclass(frozen=True, slots=True)
class SnapshotOffer:
    """The sender's log begins at ``first_slot``: what lies below exists only in its state."""

    first_slot: Slot
    decided_end: Slot


@dataclass(frozen=True, slots=True)
class Transfer:
    """The leader of ``ballot`` asks the receiver to lead. It proposes nothing after this."""

    ballot: Ballot


Message = (
    Suspect
    | SuspectReply
    | Prepare
    | Promise
    | Accept
    | Accepted
    | Nack
    | Heartbeat
    | HeartbeatReply
    | CatchUp
    | Decided
    | SnapshotOffer
    | Transfer
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message and whom it is for."""

    to: NodeId
    message: Message
