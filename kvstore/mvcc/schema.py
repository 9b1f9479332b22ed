"""The tables of ``state.db``: what they hold, how they come to be, and how the file is opened.

- ``revisions``: every change of a key in the order in which it was applied. The truth; only ever appended to.
- ``head``: for each key its newest row in ``revisions``. It gives lookups and ranges their order by key.
- ``members``, ``configurations``, ``sessions``, ``answers``: the rest of the replicated state.
- ``progress``: one row of counters, changed in the same transaction as all the rest (L9).
- ``meta``: the format version and the limits under which the state was made.

The views ``current_keys`` and ``history`` are for people with ``sqlite-utils`` or Datasette; no code here reads them.

``sqlite-utils`` creates and migrates; everything that runs more than once per start uses plain statements. A format
version is the number of steps of ``_STEPS`` that have been taken, so a migration is one more step at its end.
"""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import asdict

import sqlite_utils

from kvstore.mvcc.errors import StateFailed, StateFormatError
from kvstore.mvcc.limits import Limits
from kvstore.mvcc.state_hash import EMPTY_DIGEST

__all__ = ["FORMAT_VERSION", "migrate", "open_state"]

_CACHE_KIB = 64 * 1024
_NORMAL = 1  # what `PRAGMA synchronous` reads back for NORMAL


def open_state(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """Opens ``state.db`` for its one owner. WAL with ``synchronous=NORMAL``: the log is the durable copy.

    Settings are read back, since SQLite ignores what it cannot do without an error. Raises StateUnusable.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        try:
            (journal_mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = NORMAL")
            (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            if (journal_mode, synchronous) != ("wal", _NORMAL):
                raise StateFormatError(
                    f"{os.fspath(path)}: journal_mode and synchronous read back as {(journal_mode, synchronous)}, "
                    f"wanted {('wal', _NORMAL)}"
                )
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StateFailed(f"cannot use the state {os.fspath(path)}: {error}") from error
    return connection


def migrate(connection: sqlite3.Connection, limits: Limits) -> None:
    """Brings the database to ``FORMAT_VERSION`` in one transaction, or refuses it with ``StateFormatError``."""
    db = sqlite_utils.Database(connection, recursive_triggers=False, execute_plugins=False)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in _STEPS[_format_version(db) :]:
            step(db, connection, limits)
        connection.execute("UPDATE meta SET value = ? WHERE name = 'format_version'", (str(FORMAT_VERSION),))
        _check_limits(connection, limits)
        assert connection.in_transaction, "a migration step ended the transaction"
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _format_version(db: sqlite_utils.Database) -> int:
    tables = db.table_names()
    if not tables:
        return 0
    if "meta" not in tables:
        raise StateFormatError(f"not a state: the database has the tables {sorted(tables)} and no meta")
    row = db.execute("SELECT value FROM meta WHERE name = 'format_version'").fetchone()
    known = [str(version) for version in range(1, FORMAT_VERSION + 1)]
    if row is None or row[0] not in known:
        raise StateFormatError(f"state has format version {row and row[0]}, this program reads 1 to {FORMAT_VERSION}")
    return int(row[0])


def _check_limits(connection: sqlite3.Connection, limits: Limits) -> None:
    stored = dict(
        connection.execute("SELECT name, value FROM meta WHERE name LIKE '%\\_max' ESCAPE '\\' ORDER BY name")
    )
    wanted = {name: str(value) for name, value in sorted(asdict(limits).items())}
    if stored != wanted:
        raise StateFormatError(f"the state was made under the limits {stored}, this program was given {wanted}")


def _create(db: sqlite_utils.Database, connection: sqlite3.Connection, limits: Limits) -> None:
    _table(db, "meta", {"name": str, "value": str}, pk="name")
    # previous: the key's row before this one, 0: none. ordinal: counts the key's rows, across deletions.
    # milestone: the key's newest row before this one whose ordinal is a multiple of 64, 0: none (see `revisions`).
    # version 0: a tombstone, the key was deleted.
    _table(
        db,
        "revisions",
        {"id": int, "revision": int, "key": bytes, "value": bytes, "create_revision": int, "version": int, "lease": int}
        | {"previous": int, "milestone": int, "ordinal": int},
        pk="id",
    )
    _table(db, "head", {"key": bytes, "row": int, "deleted": int}, pk="key", by_key=True)
    _table(db, "members", {"node_id": int, "name": str, "client_urls": str, "peer_urls": str}, pk="node_id")
    _table(db, "configurations", {"from_slot": int, "configuration": bytes}, pk="from_slot")
    _table(db, "sessions", {"id": int, "last_slot": int, "highest_sequence": int, "floor": int, "puts": bytes}, pk="id")
    _table(
        db,
        "answers",
        {"session": int, "sequence": int, "kind": str, "number": int, "weight": int, "body": bytes},
        pk=("session", "sequence"),
        by_key=True,
    )
    _table(
        db,
        "progress",
        {"id": int, "applied_end": int, "revision": int, "compacted_revision": int}
        | {"rows_end": int, "sessions_opened": int, "state_hash": str},
        pk="id",
    )
    connection.executemany(
        "INSERT INTO meta (name, value) VALUES (?, ?)",
        [("format_version", "0")] + [(name, str(value)) for name, value in asdict(limits).items()],
    )
    # A store starts at revision 1, so that 0 can mean "now" in requests; rows are numbered from 1, 0 meaning none.
    connection.execute(
        "INSERT INTO progress (id, applied_end, revision, compacted_revision, rows_end, sessions_opened, state_hash)"
        " VALUES (0, 0, 1, 0, 1, 0, ?)",
        (EMPTY_DIGEST.hex(),),
    )
    db.create_view(
        "current_keys",
        f"SELECT {_readable('r.key')} AS key, {_readable('r.value')} AS value, r.create_revision AS create_revision,"  # noqa: S608 - constants
        " r.revision AS mod_revision, r.version AS version, r.lease AS lease"
        " FROM head h JOIN revisions r ON r.id = h.row WHERE h.deleted = 0 ORDER BY h.key",
    )
    db.create_view(
        "history",
        "SELECT id, revision, CASE WHEN version = 0 THEN 'delete' ELSE 'put' END AS operation,"  # noqa: S608 - constants
        f" {_readable('key')} AS key, {_readable('value')} AS value, create_revision, version, lease"
        " FROM revisions ORDER BY id",
    )


def _table(
    db: sqlite_utils.Database, name: str, columns: dict[str, type], *, pk: str | tuple[str, ...], by_key: bool = False
) -> None:
    """Creates a table; ``by_key`` keeps the rows themselves in the order of their key instead of beside an index."""
    sql = db.create_table_sql(name, columns, pk=pk, not_null=columns)
    db.execute(sql.rstrip().rstrip(";") + (" WITHOUT ROWID" if by_key else ""))


def _readable(column: str) -> str:
    """Keys and values are bytes; where they are printable ASCII, people see text."""
    text = f"CAST({column} AS TEXT)"
    printable = f"{text} NOT GLOB '*[^ -~' || char(9, 10, 13) || ']*' AND instr({column}, x'00') = 0"
    return f"CASE WHEN {printable} THEN {text} ELSE {column} END"


_STEPS: tuple[Callable[[sqlite_utils.Database, sqlite3.Connection, Limits], None], ...] = (_create,)

FORMAT_VERSION = len(_STEPS)
