"""The state machine: an MVCC store with etcd's data model, driven by decided slots.

It knows the slots it has applied and everything they brought forth. It does not know how slots are decided, who waits
for an answer, or what time it is. Given the same batches, two stores hold the same rows and the same state hash (L8).

A turn is ``begin``, any number of ``apply`` and ``set_configurations``, ``commit``: one SQLite transaction that changes
data, sessions, members, configurations, the state hash and ``applied_end`` together (L9). After any exception inside a
turn the owner calls ``rollback``, and the store is where it was before ``begin``.

Reads between turns see the state that was committed; reads inside one see what has been applied so far.
"""

import sqlite3
from collections.abc import Sequence

from kvproto.command_pb2 import CommandBatch, PublishMember
from kvproto.etcd.rpc_pb2 import RangeRequest, RangeResponse, TxnRequest, TxnResponse

from kvstore.mvcc.commands import Commands
from kvstore.mvcc.errors import unusable
from kvstore.mvcc.limits import Limits
from kvstore.mvcc.members import Members
from kvstore.mvcc.ranges import RangeScan, execute_range
from kvstore.mvcc.results import Result
from kvstore.mvcc.revisions import Revisions
from kvstore.mvcc.schema import migrate
from kvstore.mvcc.sessions import Sessions
from kvstore.mvcc.state_hash import StateHash
from kvstore.mvcc.txn import execute_txn, txn_is_readonly
from kvstore.mvcc.validate import check_range, check_txn

__all__ = ["Store"]

_SELECT_PROGRESS = (
    "SELECT applied_end, revision, compacted_revision, rows_end, sessions_opened, state_hash FROM progress WHERE id = 0"
)
_SET_PROGRESS = (
    "UPDATE progress SET applied_end = ?, revision = ?, compacted_revision = ?, rows_end = ?, sessions_opened = ?,"
    " state_hash = ? WHERE id = 0"
)
_SELECT_CONFIGURATIONS = "SELECT from_slot, configuration FROM configurations ORDER BY from_slot"
_ADD_CONFIGURATION = "INSERT INTO configurations (from_slot, configuration) VALUES (?, ?)"


class Store:
    """Owns ``connection``, which only one thread may use. Raises ``StateUnusable`` where the database cannot go on."""

    _applied_end: int
    _hash: StateHash
    _revisions: Revisions
    _sessions: Sessions
    _members: Members
    _commands: Commands

    def __init__(self, connection: sqlite3.Connection, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        connection.isolation_level = None  # transactions are ours to begin and end
        self.limits = limits
        self._connection = connection
        self._in_turn = False
        try:
            migrate(connection, limits)
            self._load()
        except sqlite3.Error as error:
            raise unusable(error) from error

    # What it knows

    @property
    def applied_end(self) -> int:
        """The first slot that has not been applied."""
        return self._applied_end

    @property
    def revision(self) -> int:
        """The revision of the newest write; 1 in an empty store."""
        return self._revisions.revision

    @property
    def compacted_revision(self) -> int:
        """Revisions below cannot be read; 0: all can."""
        return self._revisions.compacted_revision

    @property
    def state_hash(self) -> bytes:
        """32 bytes that cover everything applied up to ``applied_end``."""
        return self._hash.digest

    @property
    def in_turn(self) -> bool:
        return self._in_turn

    # A turn

    def begin(self) -> None:
        """Opens the turn's transaction."""
        assert not self._in_turn, "begin within a turn"
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise unusable(error) from error
        self._in_turn = True

    def apply(self, slot: int, batch: CommandBatch | None, *, configuration: bytes | None = None) -> list[Result]:
        """Applies what was decided in ``slot``: a batch, a configuration, or neither (a no-op).

        Returns a result per entry. ``configuration`` must be in a canonical encoding: it is hashed.
        """
        assert self._in_turn, "apply outside of a turn"
        assert slot == self._applied_end, f"L6: slot {slot} is not the next one, {self._applied_end}"
        assert batch is None or configuration is None, f"slot {slot} decided two values"
        try:
            apply = self._commands.apply
            results = [] if batch is None else [apply(slot, entry) for entry in batch.entries]
        except sqlite3.Error as error:
            raise unusable(error) from error
        if configuration is not None:
            self._hash.fact("configuration", configuration)
        self._hash.end_slot(slot)
        self._applied_end = slot + 1
        return results

    def set_configurations(self, configurations: Sequence[tuple[int, bytes]]) -> None:
        """Replaces the live configurations, as (from_slot, encoded). Not hashed: which ones live differs by node."""
        assert self._in_turn, "set_configurations outside of a turn"
        try:
            self._connection.execute("DELETE FROM configurations")
            self._connection.executemany(_ADD_CONFIGURATION, configurations)
        except sqlite3.Error as error:
            raise unusable(error) from error

    def commit(self) -> None:
        """Ends the turn: all of it is in the database."""
        assert self._in_turn, "commit outside of a turn"
        try:
            self._revisions.flush()
            self._sessions.flush()
            self._connection.execute(
                _SET_PROGRESS,
                (
                    self._applied_end,
                    self._revisions.revision,
                    self._revisions.compacted_revision,
                    self._revisions.rows_end,
                    self._sessions.opened,
                    self._hash.digest.hex(),
                ),
            )
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise unusable(error) from error
        self._in_turn = False

    def rollback(self) -> None:
        """Undoes the turn, if there is one: the store is where the last commit left it."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._load()
        except sqlite3.Error as error:
            raise unusable(error) from error
        self._in_turn = False

    def _load(self) -> None:
        row = self._connection.execute(_SELECT_PROGRESS).fetchone()
        applied_end, revision, compacted_revision, rows_end, sessions_opened, digest = row
        self._applied_end = applied_end
        self._hash = StateHash(bytes.fromhex(digest))
        self._revisions = Revisions(
            self._connection,
            self._hash,
            revision=revision,
            compacted_revision=compacted_revision,
            rows_end=rows_end,
        )
        self._sessions = Sessions(self._connection, self._hash, self.limits, opened=sessions_opened)
        self._members = Members(self._connection, self._hash)
        self._commands = Commands(self._revisions, self._members, self._sessions, self.limits)

    # Reads

    def range(self, request: RangeRequest) -> RangeResponse:
        """Raises ``Refused``. The caller saw to it that this state may answer (L7)."""
        check_range(request)
        try:
            return execute_range(self._revisions, request)
        except sqlite3.Error as error:
            raise unusable(error) from error

    def begin_range(self, request: RangeRequest) -> RangeScan:
        """The same a page at a time, so that what else the owner does need not wait: ``advance`` until it is True.

        Then its ``response`` is whole, and as if it had been read at once. Raises ``Refused``.
        """
        check_range(request)
        try:
            return RangeScan(self._revisions, request)
        except sqlite3.Error as error:
            raise unusable(error) from error

    def advance(self, scan: RangeScan) -> bool:
        """Reads a page of ``scan``; between turns only. True once it is whole."""
        try:
            return scan.step()
        except sqlite3.Error as error:
            raise unusable(error) from error

    def read_txn(self, request: TxnRequest) -> TxnResponse:
        """A transaction that cannot write in either branch: it needs no slot. Raises ``Refused``."""
        check_txn(request, self.limits)
        assert txn_is_readonly(request), "a transaction that may write must be decided first"
        try:
            return execute_txn(self._revisions, request)
        except sqlite3.Error as error:
            raise unusable(error) from error

    def has_session(self, session: int) -> bool:
        return session in self._sessions

    def has_session_unused_since(self, slot: int) -> bool:
        """Whether there is a session that was last used in a slot below this one."""
        return self._sessions.oldest_use < slot

    def members(self) -> list[PublishMember]:
        """By node id."""
        return self._members.all()

    def configurations(self) -> list[tuple[int, bytes]]:
        """(from_slot, encoded), by from_slot."""
        return [(slot, bytes(encoded)) for slot, encoded in self._connection.execute(_SELECT_CONFIGURATIONS)]

    def size_bytes(self) -> int:
        """The database's pages, free ones included; without its WAL."""
        return self._pragma("page_count") * self._pragma("page_size")

    def size_in_use_bytes(self) -> int:
        """The database's pages without free ones."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def _pragma(self, name: str) -> int:
        (value,) = self._connection.execute(f"PRAGMA {name}").fetchone()
        return int(value)
