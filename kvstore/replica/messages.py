"""What replicas say to each other above consensus: writes and reads that reached a follower.

One type per message, every field required, as in ``kvstore.paxos.messages``. A write travels one hop: a follower
forwards what it was given to the leader and answers its client when it applies the entries itself.

A link may lose these messages, and never delivers one twice: a Forward that came again would be proposed again.
"""

from dataclasses import dataclass

from kvstore.paxos.types import NodeId, Slot

__all__ = ["Forward", "ForwardReply", "ReadIndex", "ReadIndexReply", "ReplicaMessage"]


@dataclass(frozen=True, slots=True)
class Forward:
    """Asks the leader to propose ``submission``, a serialized ``kvstore.command.v1.Submission``."""

    submission: bytes


@dataclass(frozen=True, slots=True)
class ForwardReply:
    """The entries with tickets [first_ticket, first_ticket + count) were definitely not proposed.

    They may be sent again: later if ``overloaded``, and to ``leader_hint`` where there is one.
    """

    first_ticket: int
    count: int
    overloaded: bool
    leader_hint: NodeId | None


@dataclass(frozen=True, slots=True)
class ReadIndex:
    """Asks the leader from which ``applied_end`` on a read that reached the sender may be served (L7)."""

    request: int


@dataclass(frozen=True, slots=True)
class ReadIndexReply:
    """``confirmed``: a quorum answered after the request came, a state that applied up to ``index`` may serve."""

    request: int
    confirmed: bool
    index: Slot


ReplicaMessage = Forward | ForwardReply | ReadIndex | ReadIndexReply
