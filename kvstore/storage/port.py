"""The acceptor log as the node and the simulator see it: a durable memory of promises, votes and learned values.

The log knows records and their order. It does not know who leads, what is chosen, or what a value means. Both
implementations (``SqliteAcceptorLog``, ``MemoryAcceptorLog``) pass the same contract tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kvstore.paxos.durable import AcceptedValue, Write
from kvstore.paxos.messages import AcceptedEntry
from kvstore.paxos.types import Ballot, NodeId, Slot

__all__ = ["BIRTH_ID_BYTES", "AcceptorLog", "Formation", "Identity", "LogStats", "RecoveredLog"]

BIRTH_ID_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this node is. ``birth_id`` is random and as old as the disk; ``incarnation`` grew by one at this open.

    ``cluster_id`` is None until the cluster has formed.
    """

    node_id: NodeId
    birth_id: bytes
    incarnation: int
    cluster_id: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Formation:
    """What all initial members agreed on once. ``births`` and ``peers`` (``host:port``) are in the order of the ids."""

    cluster_id: bytes
    births: Mapping[NodeId, bytes]
    peers: Mapping[NodeId, str]
    alpha: int
    lease_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredLog:
    """``accepted`` has the newest record of every slot asked for, ``log_end`` is one past the highest recorded slot.

    ``promised`` is the highest ballot promised or accepted; a learned value's ballot binds nobody.
    """

    promised: Ballot
    accepted: dict[Slot, AcceptedValue]
    first_slot: Slot
    log_end: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStats:
    """``commits`` since the log was opened; ``records`` and ``bytes_on_disk`` as they are now."""

    commits: int
    records: int
    bytes_on_disk: int


class AcceptorLog(Protocol):
    @property
    def identity(self) -> Identity: ...

    @property
    def formation(self) -> Formation | None:
        """What ``form`` stored, None before."""

    @property
    def sequence(self) -> int:
        """Of the last durable record; 0 where there is none."""

    def append(self, write: Write) -> None:
        """Returns when all of ``write`` is durable (L2); none of it is, where it raises ``DiskFull``.

        Any other error leaves unknown what is durable: the process must end.
        """

    def recover(self, *, from_slot: Slot) -> RecoveredLog:
        """What a restarted acceptor must know, with the values of the slots ≥ ``from_slot``."""

    def read_decided(self, start: Slot, end: Slot, *, bytes_max: int) -> tuple[AcceptedEntry, ...]:
        """The newest record of each slot of [start, end), up to the first slot without one or ``bytes_max``.

        The first entry is returned however large it is. That the slots are decided is the caller's knowledge.
        """

    def form(
        self,
        *,
        cluster_id: bytes,
        births: Mapping[NodeId, bytes],
        peers: Mapping[NodeId, str],
        alpha: int,
        lease_ms: int = 0,
    ) -> None:
        """Stores durably which cluster this is. Again with the same cluster id: nothing. Raises ``WrongCluster``."""

    def remember_peer(self, node_id: NodeId, *, log_sequence: int) -> None:
        """``node_id`` said that its log is durable up to here. Persisted lazily: appends later, or at ``close``."""

    def peer_sequence(self, node_id: NodeId) -> int:
        """The highest that was remembered, 0 where nothing was: a peer that comes with less has lost its memory."""

    def stats(self) -> LogStats: ...

    def close(self) -> None:
        """Again: nothing."""
