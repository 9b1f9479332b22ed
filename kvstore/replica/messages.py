"""What replicas say to each other above consensus: writes and reads that reached a follower.

One type per message, every field required, as in ``kvstore.paxos.messages``. A write travels one hop: a follower
forwards what it was given to the leader and answers its client when it applies the entries itself.

A link may lose these messages or deliver one twice: what is proposed twice is applied once (L12).
"""

from dataclasses import dataclass

from kvproto.command_pb2 import CommandBatch

from kvstore.paxos.types import Slot

__all__ = ["Forward", "ForwardReply", "ReadIndex", "ReadIndexReply", "ReplicaMessage"]


@dataclass(frozen=True, slots=True)
class Forward:
    """Asks the leader to propose the entries of ``batch``, which nobody changes any more.

    ``number`` is unique among the forwards of its sender, over its incarnations.
    """

    number: int
    batch: CommandBatch


@dataclass(frozen=True, slots=True)
class ForwardReply:
    """Nothing of the forward with this number was proposed, and nothing of it will be."""

    number: int


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
