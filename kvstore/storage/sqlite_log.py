"""The acceptor log in SQLite: append-only records, one commit per write, proved whole at every start.

It keeps L2 (``append`` returns when the write is durable) and L11 (what cannot be proved whole is not opened), and
decides nothing else. Start reading at ``open``: it tells the order in which a node finds out who it is.

The hot path is one ``executemany`` inside one transaction; checksums and hashes are made before it, in memory.
"""

import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from kvstore.paxos.durable import AcceptedValue, Write
from kvstore.paxos.messages import AcceptedEntry
from kvstore.paxos.types import NodeId, Slot
from kvstore.storage import schema
from kvstore.storage.chain import genesis, link
from kvstore.storage.codec import decode_value
from kvstore.storage.directory import DataDirectory, sync_directory
from kvstore.storage.errors import (
    Amnesia,
    DiskFull,
    LogWriteFailed,
    LostRecord,
    StorageError,
    UnreadableLog,
    WrongNode,
    WrongPeers,
    WrongReadMode,
)
from kvstore.storage.formation import agree
from kvstore.storage.high_water import HighWaterFile, Mark, read_mark
from kvstore.storage.meta import (
    Meta,
    read_meta,
    write_anchor,
    write_formation,
    write_identity,
    write_peer_sequences,
)
from kvstore.storage.port import BIRTH_ID_BYTES, Formation, Identity, LogStats, RecoveredLog
from kvstore.storage.records import LEARN, Row, verify_checksum
from kvstore.storage.recovery import ScannedLog, prove_identity, prove_whole, scan

__all__ = ["SqliteAcceptorLog"]

_INSERT = (
    "INSERT INTO records (sequence, kind, slot, round, node, value, checksum, chain) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_SELECT = "SELECT sequence, kind, slot, round, node, value, checksum, chain FROM records WHERE sequence = ?"
_ROW_OVERHEAD_BYTES = 64
_PEERS_EVERY_COMMITS = 64  # they change with every answer of a peer, and storing them makes a commit a sixth slower


class SqliteAcceptorLog:
    """An ``AcceptorLog``. Belongs to the thread that opened it."""

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        node_id: NodeId,
        peers: Mapping[NodeId, str] | None = None,
        lease_ms: int | None = None,
    ) -> Self:
        """Opens, or gives birth to, the log of ``node_id``, in a directory that is created where it is missing.

        Raises StorageError, nothing written, unless this is provably the whole log of this node, in the cluster that
        formed with ``peers`` and ``lease_ms`` (where they are given and it has formed). The next incarnation begins.
        """
        with ExitStack() as undo:
            data = DataDirectory(directory)
            _refuse_other_node(data, read_mark(data.high_water), node_id)  # before even the lock is touched
            data.lock()
            undo.callback(data.unlock)
            mark = read_mark(data.high_water)
            if mark is not None and not data.database.exists():
                raise Amnesia("the database is missing", in_file=f"sequence {mark.sequence}", in_database="nothing")
            with _translated(data.database):
                connection = schema.connect(data.database)
                undo.callback(connection.close)
                meta = _read_or_bear(connection, data, mark, node_id)
                if meta.identity.node_id != node_id:
                    raise WrongNode(directory, stored=meta.identity.node_id, given=node_id)
                if peers is not None and meta.formation is not None and meta.formation.peers != peers:
                    raise WrongPeers(directory, stored=meta.formation.peers, given=peers)
                if lease_ms is not None and meta.formation is not None and meta.formation.lease_ms != lease_ms:
                    raise WrongReadMode(directory, stored_lease_ms=meta.formation.lease_ms, given_lease_ms=lease_ms)
                mark = mark or _finish_birth(data, meta)
                prove_identity(meta.identity, mark)
                scanned = scan(connection, anchor=meta.anchor, mark=mark, path=data.database)
                prove_whole(scanned, mark, anchor=meta.anchor)
                high_water = HighWaterFile(data.high_water)
                undo.callback(high_water.close)
                log = cls(data, connection, high_water, meta, scanned)
                log._begin_incarnation()
            undo.pop_all()
            return log

    def __init__(
        self,
        data: DataDirectory,
        connection: sqlite3.Connection,
        high_water: HighWaterFile,
        meta: Meta,
        scanned: ScannedLog,
    ) -> None:
        """Use ``open``."""
        self.directory = data
        self._connection = connection
        self._high_water = high_water
        self._identity = meta.identity
        self._formation = meta.formation
        self._first_slot = meta.anchor.first_slot
        self._sequence = scanned.sequence
        self._chain = scanned.chain
        self._promised = scanned.promised
        self._slots = scanned.slots
        self._records = scanned.records
        self._peer_sequences = dict(meta.peer_sequences)
        self._peers_changed = False
        self._peers_due = 0
        self._commits = 0
        self._wal_frames = 0
        self._failed: str | None = None
        self._closed = False

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def formation(self) -> Formation | None:
        return self._formation

    @property
    def sequence(self) -> int:
        return self._sequence

    def append(self, write: Write) -> None:
        rows = link(write.records, sequence=self._sequence, chain=self._chain)
        assert rows, f"write {write.write_id} has no records"
        with self._transaction():
            self._connection.executemany(_INSERT, map(tuple, rows))  # a fifth faster than named tuples
        self._sequence, self._chain = rows[-1].sequence, rows[-1].chain
        self._records += len(rows)
        size = 0
        for row in rows:
            size += _ROW_OVERHEAD_BYTES
            if row.slot is not None:
                self._slots.set(row.slot, row.sequence)
                assert row.value is not None
                size += len(row.value)
            if row.is_vote and row[3:5] > self._promised:
                self._promised = row.ballot
        self._witness()
        self._wal_frames += 2 + size // schema.PAGE_BYTES
        if self._wal_frames >= schema.CHECKPOINT_FRAMES:
            self._checkpoint()

    def recover(self, *, from_slot: Slot) -> RecoveredLog:
        accepted = {}
        for slot, sequence in self._slots.items(from_slot=from_slot):
            row = self._read(sequence, slot=slot)
            assert row.value is not None
            accepted[slot] = AcceptedValue(row.ballot, decode_value(row.value), learned=row.kind == LEARN)
        return RecoveredLog(
            promised=self._promised, accepted=accepted, first_slot=self._first_slot, log_end=self._slots.end
        )

    def read_decided(self, start: Slot, end: Slot, *, bytes_max: int) -> tuple[AcceptedEntry, ...]:
        entries: list[AcceptedEntry] = []
        size = 0
        for slot in map(Slot, range(start, end)):
            sequence = self._slots.get(slot)
            if not sequence:
                break
            row = self._read(sequence, slot=slot)
            assert row.value is not None
            size += len(row.value)
            if entries and size > bytes_max:
                break
            entries.append(AcceptedEntry(slot, row.ballot, decode_value(row.value)))
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
        if not agree(self._formation, formation, self._identity):
            return
        with self._transaction():
            write_formation(self._connection, formation)
        self._formation = formation
        self._identity = replace(self._identity, cluster_id=cluster_id)
        self._witness()

    def remember_peer(self, node_id: NodeId, *, log_sequence: int) -> None:
        if log_sequence > self.peer_sequence(node_id):
            self._peer_sequences[node_id] = log_sequence
            self._peers_changed = True

    def peer_sequence(self, node_id: NodeId) -> int:
        return self._peer_sequences.get(node_id, 0)

    def stats(self) -> LogStats:
        return LogStats(commits=self._commits, records=self._records, bytes_on_disk=self.directory.bytes_on_disk())

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with ExitStack() as steps:  # the lock goes last, whatever fails before
            steps.callback(self.directory.unlock)
            steps.callback(self._connection.close)
            steps.callback(self._high_water.close)
            if self._peers_changed and self._failed is None:
                self._peers_due = self._commits
                with suppress(DiskFull), self._transaction():
                    pass  # what peers said of themselves may be older after a restart

    def abandon(self) -> None:
        """Lets go of the files and commits nothing more: what a crash of the process leaves. Again: nothing."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as steps:
            steps.callback(self.directory.unlock)
            steps.callback(self._connection.close)
            steps.callback(self._high_water.abandon)

    def _begin_incarnation(self) -> None:
        self._identity = replace(self._identity, incarnation=self._identity.incarnation + 1)
        schema.allocate_wal(self._connection, self.directory.database_wal)
        with self._transaction():
            schema.migrate(self._connection)
            write_identity(self._connection, self._identity)
        self._high_water.settle(self._mark())
        self._high_water.start()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One commit. Raises DiskFull, nothing changed, or LogWriteFailed, after which every further write does too."""
        if self._failed is not None:
            raise LogWriteFailed(self.directory.database, why=f"an earlier write failed: {self._failed}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            peers_due = self._peers_changed and self._commits >= self._peers_due
            if peers_due:
                write_peer_sequences(self._connection, self._peer_sequences)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._write_error(error) from error
        self._commits += 1
        if peers_due:
            self._peers_changed = False
            self._peers_due = self._commits + _PEERS_EVERY_COMMITS

    def _write_error(self, error: sqlite3.Error) -> StorageError:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as second:
            error = second
        if _is_full(error):
            return DiskFull(self.directory.database, why=str(error))
        self._failed = str(error)
        return LogWriteFailed(self.directory.database, why=self._failed)

    def _witness(self) -> None:
        """Tells the high-water file what is durable now."""
        try:
            self._high_water.write(self._mark())
        except LogWriteFailed as error:
            self._failed = str(error)
            raise

    def _mark(self) -> Mark:
        return Mark(
            node_id=self._identity.node_id,
            birth_id=self._identity.birth_id,
            incarnation=self._identity.incarnation,
            cluster_id=self._identity.cluster_id,
            sequence=self._sequence,
            chain=self._chain,
            promised=self._promised,
            highest_accepted=self._slots.end - 1,
            first_slot=self._first_slot,
        )

    def _checkpoint(self) -> None:
        self._wal_frames = 0
        try:
            busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            if _is_full(error):
                return  # the commit stands, the WAL goes on growing, the next write may say DiskFull
            raise self._write_error(error) from error
        assert not busy, "somebody else reads the database of the one owner"

    def _read(self, sequence: int, *, slot: Slot) -> Row:
        """The record ``sequence``, which is the newest of ``slot``. Raises UnreadableLog, Lost- or CorruptRecord."""
        with _translated(self.directory.database):
            found = self._connection.execute(_SELECT, (sequence,)).fetchall()
        if not found:
            raise LostRecord(sequence, found=None)
        row = Row._make(found[0])
        verify_checksum(row)
        assert row.slot == slot, f"record {sequence} is of slot {row.slot}, the index says {slot}"
        return row


def _refuse_other_node(data: DataDirectory, mark: Mark | None, node_id: NodeId) -> None:
    if mark is not None and mark.node_id != node_id:
        raise WrongNode(data.path, stored=mark.node_id, given=node_id)


def _read_or_bear(connection: sqlite3.Connection, data: DataDirectory, mark: Mark | None, node_id: NodeId) -> Meta:
    """What the database says. A birth is where neither database nor high-water file knows of anybody (L11).

    It comes in three durable steps: the database with incarnation 0, the high-water file, incarnation 1. A crash
    between them leaves a birth to be finished: nothing was said in this identity's name before ``open`` returned.
    """
    new = schema.is_new(connection)
    if new and mark is None:
        identity = Identity(node_id=node_id, birth_id=secrets.token_bytes(BIRTH_ID_BYTES), incarnation=0)
        connection.execute("BEGIN IMMEDIATE")
        schema.migrate(connection)
        write_identity(connection, identity)
        write_anchor(connection, genesis(node_id=node_id, birth_id=identity.birth_id))
        connection.execute("COMMIT")
        sync_directory(data.path)
    meta = None if new and mark is not None else read_meta(connection)
    if meta is None:
        raise Amnesia(
            "the database knows no node",
            in_file=f"node {mark.node_id}, sequence {mark.sequence}" if mark else "nothing",
            in_database="nothing",
        )
    if mark is None and meta.identity.incarnation > 0:
        raise Amnesia(
            f"{data.high_water} is missing",
            in_file="nothing",
            in_database=f"node {meta.identity.node_id}, incarnation {meta.identity.incarnation}",
        )
    return meta


def _finish_birth(data: DataDirectory, meta: Meta) -> Mark:
    anchor = meta.anchor
    mark = Mark(
        node_id=meta.identity.node_id,
        birth_id=meta.identity.birth_id,
        incarnation=0,
        cluster_id=None,
        sequence=anchor.sequence,
        chain=anchor.chain,
        promised=anchor.promised,
        highest_accepted=-1,
        first_slot=anchor.first_slot,
    )
    HighWaterFile.create(data.high_water, mark)
    return mark


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """No foreign exception leaves: ``sqlite3`` and ``OSError`` as StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        if _is_full(error):
            raise DiskFull(path, why=str(error)) from error
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        raise UnreadableLog(path, why=str(error), damaged=code in _DAMAGE) from error
    except OSError as error:
        raise UnreadableLog(path, why=error.strerror or str(error), damaged=False) from error


# SQLITE_ERROR: a flipped bit in the schema makes a column unknown.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
