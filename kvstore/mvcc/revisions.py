"""The revisions of all keys: appended in the order of their application, found by key through ``head``.

**Why two tables.** An index on (key, revision) would cost a random B-tree write per put. Appending does not, and
``head`` has one small row per key, overwritten in place. What is gained is measured in ``docs/performance.md``.

**Old revisions.** A row names the key's row before it, so a key's state at an old revision is found by walking back
from its head. To keep that walk short, a row also names the key's last *milestone*, a row whose ordinal is a multiple
of 64: n changes cost n/64 + 64 steps. Row ids ascend with revisions, so "at revision R" becomes "the key's newest row
with id ≤ bound", and the bound is found by bisection.

**Within a turn** rows wait in memory and reach SQLite in bulk: before any statement that must see them, and at commit.
``_heads`` caches the newest row of recently used keys; it always has those of the waiting rows, so a lookup of one key
never has to flush.

A write transaction is what happens between two calls of ``end_write``: its rows share the revision after the current
one, which becomes the current one only if there are any.
"""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from kvproto.etcd.rpc_pb2 import KeyValue

from kvstore.mvcc.errors import Compacted, FutureRevision
from kvstore.mvcc.interval import Interval
from kvstore.mvcc.state_hash import StateHash

__all__ = ["Head", "Revisions"]

MILESTONE_EVERY = 64

_PENDING_MAX = 4096
_PAGE = 1024
_CACHE_BYTES_MAX = 32 * 1024 * 1024
_CACHE_ENTRY_BYTES = 400  # a Head, its integers, the key's object and a dict slot, roughly

_INSERT = (
    "INSERT INTO revisions (id, revision, key, value, create_revision, version, lease, previous, milestone, ordinal)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SET_HEAD = "INSERT OR REPLACE INTO head (key, row, deleted) VALUES (?, ?, ?)"
_HEAD_COLUMNS = "r.id, r.revision, r.create_revision, r.version, r.lease, r.milestone, r.ordinal"
_HEAD = f"SELECT {_HEAD_COLUMNS} FROM head h JOIN revisions r ON r.id = h.row WHERE h.key = ?"  # noqa: S608 - constants
_LIVE_AFTER = (
    f"SELECT h.key, {_HEAD_COLUMNS} FROM head h JOIN revisions r ON r.id = h.row"  # noqa: S608 - constants
    " WHERE h.key >= ? AND h.deleted = 0 ORDER BY h.key LIMIT ?"
)
_LIVE_BETWEEN = _LIVE_AFTER.replace("h.key >= ?", "h.key >= ? AND h.key < ?")
_VALUE = "SELECT value FROM revisions WHERE id = ?"
_REVISION_FROM = "SELECT id, revision FROM revisions WHERE id >= ? ORDER BY id LIMIT 1"


class Head(NamedTuple):
    """A key's newest row, without its value. ``version`` 0: the key is deleted."""

    row: int
    revision: int
    create_revision: int
    version: int
    lease: int
    milestone: int
    ordinal: int


class Revisions:
    """``revision`` is that of the last finished write transaction, ``rows_end`` the id that the next row gets."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        state_hash: StateHash,
        *,
        revision: int,
        compacted_revision: int,
        rows_end: int,
    ) -> None:
        self.connection = connection
        self.revision = revision
        self.compacted_revision = compacted_revision
        self.rows_end = rows_end
        self._hash = state_hash
        self._write_start = rows_end  # the first row of the write transaction in progress
        self._stored_end = rows_end  # rows below are in SQLite
        self._pending: list[tuple[int, int, bytes, bytes, int, int, int, int, int, int]] = []
        self._unflushed: dict[bytes, Head] = {}
        self._heads: dict[bytes, Head] = {}
        self._heads_bytes = 0

    @property
    def visible_revision(self) -> int:
        """What a read sees now: the write transaction in progress counts once it has written."""
        return self.revision + (self.rows_end > self._write_start)

    def check_readable(self, revision: int, *, current: int) -> None:
        """Refuses a revision beyond ``current`` or before the compacted one; ≤ 0 means now."""
        if revision > current:
            raise FutureRevision(required=revision, current=current)
        if 0 < revision < self.compacted_revision:
            raise Compacted(required=revision, first_revision=self.compacted_revision)

    # Reading one key

    def head(self, key: bytes) -> Head | None:
        """The key's newest row; None if it never existed (or was deleted and compacted)."""
        head = self._heads.get(key)
        if head is None:
            row = self.connection.execute(_HEAD, (key,)).fetchone()
            if row is None:
                return None
            head = Head._make(row)
            self._cache(key, head)
        return head

    def live_head(self, key: bytes) -> Head | None:
        head = self.head(key)
        return head if head is not None and head.version else None

    def value(self, row: int) -> bytes:
        """The value in the row with this id."""
        if row >= self._stored_end:
            self.flush()
        value: bytes
        (value,) = self.connection.execute(_VALUE, (row,)).fetchone()
        return value

    def key_value(self, key: bytes, head: Head) -> KeyValue:
        return KeyValue(
            key=key,
            create_revision=head.create_revision,
            mod_revision=head.revision,
            version=head.version,
            value=self.value(head.row),
            lease=head.lease,
        )

    # Reading many

    def live(self, keys: Interval) -> Iterator[tuple[bytes, Head]]:
        """The existing keys in order, a page at a time: the caller may write what it was given meanwhile."""
        start: bytes = keys.start
        while True:
            self.flush()
            if keys.end is None:
                page = self.connection.execute(_LIVE_AFTER, (start, _PAGE)).fetchall()
            else:
                page = self.connection.execute(_LIVE_BETWEEN, (start, keys.end, _PAGE)).fetchall()
            for key, *columns in page:
                yield key, Head._make(columns)
            if len(page) < _PAGE:
                return
            start = page[-1][0] + b"\0"

    def rows_end_at(self, revision: int) -> int:
        """The end of the rows whose revision is ≤ ``revision``."""
        if revision >= self.visible_revision:
            return self.rows_end
        self.flush()
        low, high = 1, self.rows_end  # the answer lies in [low, high]
        while low < high:
            middle = (low + high) // 2
            found = self.connection.execute(_REVISION_FROM, (middle,)).fetchone()
            if found is None or found[1] > revision:
                high = middle
            else:
                low = found[0] + 1
        return low

    # Writing

    def put(self, key: bytes, value: bytes, lease: int, head: Head | None) -> None:
        """Appends a put. ``head`` is what ``head(key)`` just returned."""
        if head is not None and head.version:
            self._append(key, value, head.create_revision, head.version + 1, lease, head)
        else:
            self._append(key, value, self.revision + 1, 1, lease, head)

    def delete(self, key: bytes, head: Head) -> None:
        """Appends a tombstone. The key exists, and ``head`` is its newest row."""
        assert head.version > 0, f"a deleted key cannot be deleted: {key!r}"
        self._append(key, b"", 0, 0, 0, head)

    def end_write(self) -> None:
        """Ends the write transaction; it takes a revision only if it wrote."""
        self.revision = self.visible_revision
        self._write_start = self.rows_end

    def flush(self) -> None:
        """Moves waiting rows into SQLite."""
        if not self._pending:
            return
        self.connection.executemany(_INSERT, self._pending)
        self.connection.executemany(
            _SET_HEAD, [(key, head.row, head.version == 0) for key, head in sorted(self._unflushed.items())]
        )
        self._pending.clear()
        self._unflushed.clear()
        self._stored_end = self.rows_end
        if self._heads_bytes > _CACHE_BYTES_MAX:
            self._heads.clear()
            self._heads_bytes = 0

    def _append(  # noqa: PLR0917 - the hot path: keywords cost
        self, key: bytes, value: bytes, create_revision: int, version: int, lease: int, head: Head | None
    ) -> None:
        row, revision = self.rows_end, self.revision + 1
        if head is None:
            previous, milestone, ordinal = 0, 0, 1
        else:
            previous, ordinal = head.row, head.ordinal + 1
            milestone = previous if head.ordinal % MILESTONE_EVERY == 0 else head.milestone
        self._pending.append((row, revision, key, value, create_revision, version, lease, previous, milestone, ordinal))
        self._hash.row(row, revision, key, value, create_revision, version, lease)
        self.rows_end = row + 1
        new_head = Head(row, revision, create_revision, version, lease, milestone, ordinal)
        self._unflushed[key] = new_head
        self._cache(key, new_head)
        if len(self._pending) >= _PENDING_MAX:
            self.flush()

    def _cache(self, key: bytes, head: Head) -> None:
        if key not in self._heads:
            self._heads_bytes += len(key) + _CACHE_ENTRY_BYTES
        self._heads[key] = head
