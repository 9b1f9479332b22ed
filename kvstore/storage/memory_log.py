"""The acceptor log without a disk, for simulators and tests: the same contract, and a ``MemoryDisk`` that survives.

A crash is simulated by dropping the log and opening the disk again. A log whose disk was opened anew is a dead process:
whoever still writes through it is a bug that an assertion shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from kvstore.paxos.durable import AcceptedValue, LearnRecord, PromiseRecord, Record, Write
from kvstore.paxos.messages import AcceptedEntry
from kvstore.paxos.types import ZERO_BALLOT, Ballot, NodeId, Slot
from kvstore.storage.codec import encode_value
from kvstore.storage.errors import DiskFull, WrongNode
from kvstore.storage.formation import agree
from kvstore.storage.port import BIRTH_ID_BYTES, Formation, Identity, LogStats, RecoveredLog

__all__ = ["MemoryAcceptorLog", "MemoryDisk"]


@dataclass(slots=True)
class MemoryDisk:
    """What is durable. ``full`` refuses every write, as a full disk does."""

    identity: Identity | None = None
    formation: Formation | None = None
    promised: Ballot = ZERO_BALLOT
    newest: dict[Slot, AcceptedValue] = field(default_factory=dict)
    peer_sequences: dict[NodeId, int] = field(default_factory=dict)
    sequence: int = 0
    bytes_written: int = 0
    full: bool = False


class MemoryAcceptorLog:
    """An ``AcceptorLog``."""

    @classmethod
    def open(cls, disk: MemoryDisk, *, node_id: NodeId, rng: Random) -> "MemoryAcceptorLog":
        """``rng`` makes the birth id. Raises WrongNode."""
        stored = disk.identity or Identity(node_id=node_id, birth_id=rng.randbytes(BIRTH_ID_BYTES), incarnation=0)
        if stored.node_id != node_id:
            raise WrongNode("a memory disk", stored=stored.node_id, given=node_id)
        disk.identity = replace(stored, incarnation=stored.incarnation + 1)
        return cls(disk, disk.identity)

    def __init__(self, disk: MemoryDisk, identity: Identity) -> None:
        """Use ``open``."""
        self._disk = disk
        self._identity = identity
        self._peer_sequences = dict(disk.peer_sequences)
        self._commits = 0
        self._closed = False

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def formation(self) -> Formation | None:
        return self._disk.formation

    @property
    def sequence(self) -> int:
        return self._disk.sequence

    def append(self, write: Write) -> None:
        assert write.records, f"write {write.write_id} has no records"
        self._begin_commit()
        for record in write.records:
            self._store(record)
        self._disk.sequence += len(write.records)
        self._disk.peer_sequences = dict(self._peer_sequences)
        self._commits += 1

    def recover(self, *, from_slot: Slot) -> RecoveredLog:
        newest = self._disk.newest
        return RecoveredLog(
            promised=self._disk.promised,
            accepted={slot: newest[slot] for slot in sorted(newest) if slot >= from_slot},
            first_slot=Slot(0),
            log_end=Slot(max(newest, default=-1) + 1),
        )

    def read_decided(self, start: Slot, end: Slot, *, bytes_max: int) -> tuple[AcceptedEntry, ...]:
        entries: list[AcceptedEntry] = []
        size = 0
        for slot in map(Slot, range(start, end)):
            known = self._disk.newest.get(slot)
            if known is None:
                break
            size += len(encode_value(known.value))
            if entries and size > bytes_max:
                break
            entries.append(AcceptedEntry(slot, known.ballot, known.value))
        return tuple(entries)

    def form(
        self,
        *,
        cluster_id: bytes,
        births: Mapping[NodeId, bytes],
        peers: Mapping[NodeId, str],
        alpha: int,
        lease_ms: int = 0,
    ) -> None:
        formation = Formation(
            cluster_id=cluster_id, births=dict(births), peers=dict(peers), alpha=alpha, lease_ms=lease_ms
        )
        if not agree(self._disk.formation, formation, self._identity):
            return
        self._begin_commit()
        self._identity = self._disk.identity = replace(self._identity, cluster_id=cluster_id)
        self._disk.formation = formation
        self._commits += 1

    def remember_peer(self, node_id: NodeId, *, log_sequence: int) -> None:
        self._peer_sequences[node_id] = max(log_sequence, self.peer_sequence(node_id))

    def peer_sequence(self, node_id: NodeId) -> int:
        return self._peer_sequences.get(node_id, 0)

    def stats(self) -> LogStats:
        return LogStats(commits=self._commits, records=self._disk.sequence, bytes_on_disk=self._disk.bytes_written)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._disk.peer_sequences = dict(self._peer_sequences)

    def _begin_commit(self) -> None:
        assert not self._closed, "the log is closed"
        assert self._disk.identity == self._identity, (
            f"incarnation {self._identity.incarnation} is dead: the disk belongs to {self._disk.identity}"
        )
        if self._disk.full:
            raise DiskFull("a memory disk", why="it was told to be full")

    def _store(self, record: Record) -> None:
        if not isinstance(record, LearnRecord):
            self._disk.promised = max(self._disk.promised, record.ballot)
        if isinstance(record, PromiseRecord):
            return
        assert record.slot >= 0, f"slot {record.slot} is negative"
        learned = isinstance(record, LearnRecord)
        self._disk.newest[record.slot] = AcceptedValue(record.ballot, record.value, learned)
        self._disk.bytes_written += len(encode_value(record.value))
