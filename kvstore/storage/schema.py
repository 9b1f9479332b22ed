"""The acceptor database: its tables, their versions, and the settings without which a commit is not durable.

One connection owns the file, and holds SQLite's exclusive lock on it: SQLite 3.7.0 to 3.51.2 can corrupt a WAL database
that two connections write and checkpoint. So nobody can look into a running node's log; a stopped one's is an ordinary
database (``sqlite-utils rows acceptor.db records``).

**A WAL that keeps its size** is the fastest to commit to: overwriting allocated blocks changes nothing in the file
system's own journal. So the WAL is grown once, at open, beyond what a checkpoint lets it become, and never cut.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlite_utils import Database

from kvstore.storage.errors import SettingRefused, UnknownFormat

__all__ = ["CHECKPOINT_FRAMES", "FORMAT_VERSION", "PAGE_BYTES", "allocate_wal", "connect", "is_new", "migrate"]

PAGE_BYTES = 4096
CHECKPOINT_FRAMES = 256
"""When the WAL is moved into the database. Measured with 30 kB records: 256 costs as much in the mean as 1,000, and its
worst append is 1.8 ms instead of 5.8."""

_LOCKED_WAIT_S = 1.0


def connect(path: Path) -> sqlite3.Connection:
    """The one owner connection: statements commit by themselves outside of an explicit BEGIN. Raises SettingRefused.

    Checkpoints are asked for, never automatic: SQLite hides the errors of an automatic one, a failed sync among them.
    """
    connection = sqlite3.connect(path, timeout=_LOCKED_WAIT_S, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA journal_size_limit = -1")
        connection.execute("PRAGMA secure_delete = OFF")
        require(connection, "journal_mode", set_to="WAL", reads="wal")
        require(connection, "synchronous", set_to="FULL", reads="2")
    except BaseException:
        connection.close()
        raise
    return connection


def require(connection: sqlite3.Connection, setting: str, *, set_to: str, reads: str) -> None:
    """Sets, reads back, and raises SettingRefused where the two differ: SQLite itself keeps silent."""
    connection.execute(f"PRAGMA {setting} = {set_to}")
    found = str(connection.execute(f"PRAGMA {setting}").fetchone()[0])
    if found != reads:
        raise SettingRefused(setting, wanted=f"{set_to} ({reads})", found=found)


def is_new(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever stored. Raises UnknownFormat where it was, in a version that is not known here."""
    version = _version(connection)
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if version > FORMAT_VERSION or (version == 0 and not empty):
        raise UnknownFormat("the acceptor log", found=version, known=FORMAT_VERSION)
    return version == 0


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the tables to this program's version, inside the caller's transaction."""
    assert connection.in_transaction, "half a migration must not stay"
    database = Database(connection, execute_plugins=False)
    for migration in _MIGRATIONS[_version(connection) :]:
        migration(database)
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")


def allocate_wal(connection: sqlite3.Connection, wal: Path) -> None:
    """Grows the WAL to its working size, unless it has kept it, and begins it anew.

    Best effort: a full disk must not keep a node down.
    """
    working_bytes = (CHECKPOINT_FRAMES + CHECKPOINT_FRAMES // 4) * (PAGE_BYTES + 24)
    try:
        if not wal.exists() or wal.stat().st_size < working_bytes:
            connection.execute("INSERT INTO ballast (bytes) VALUES (zeroblob(?))", (working_bytes,))
            connection.execute("DELETE FROM ballast")
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(database: Database) -> None:
    # No index on slot: see kvstore.storage.slot_index.
    database.create_table(
        "records",
        {
            "sequence": int,
            "kind": int,
            "slot": int,
            "round": int,
            "node": int,
            "value": bytes,
            "checksum": int,
            "chain": bytes,
        },
        pk="sequence",
        not_null={"kind", "round", "node", "checksum", "chain"},
    )
    database.create_table("meta", {"name": str, "value": str, "checksum": int}, pk="name")
    database.create_table("ballast", {"bytes": bytes})


_MIGRATIONS: tuple[Callable[[Database], None], ...] = (_create,)
FORMAT_VERSION = len(_MIGRATIONS)
