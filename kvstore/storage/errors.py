"""What storage refuses, one class per reason. ``str(error)`` is one line: both values, and what to do.

An error at start means that nothing was promised to anybody: the process ends with status 2. An error from ``append``
means that the disk holds less than the node thinks: the process ends at once (``LogWriteFailed``), a full disk apart
(``DiskFull``), after which the log is what it was before. No ``sqlite3`` or ``OSError`` leaves this room.
"""

from collections.abc import Mapping
from pathlib import Path

from kvstore.paxos.types import NodeId

__all__ = [
    "Amnesia",
    "BrokenChain",
    "CorruptMeta",
    "CorruptRecord",
    "DirectoryLocked",
    "DirectoryUnusable",
    "DiskFull",
    "LogWriteFailed",
    "LostRecord",
    "SettingRefused",
    "StorageError",
    "UnknownFormat",
    "UnreadableLog",
    "UnsafeDirectory",
    "WrongCluster",
    "WrongNode",
    "WrongPeers",
    "WrongReadMode",
]

_REJOIN = (
    "this node must not vote (it could break a promise); put back the whole newest directory, "
    "or remove the node from the cluster and let it join as a new member with an empty one"
)


class StorageError(Exception):
    """The root of all that storage raises on purpose."""


class WrongNode(StorageError):
    def __init__(self, directory: Path | str, *, stored: int, given: int) -> None:
        super().__init__(
            f"data directory of another node: {directory} belongs to node {stored}, this is node {given}; "
            f"nothing was touched; start node {stored} here, or give node {given} its own directory"
        )
        self.stored = stored
        self.given = given


class WrongPeers(StorageError):
    """Members change through the log alone: other addresses in the flags may mean another cluster."""

    def __init__(self, directory: Path | str, *, stored: Mapping[NodeId, str], given: Mapping[NodeId, str]) -> None:
        was, now = (",".join(f"{node}={peers[node]}" for node in sorted(peers)) for peers in (stored, given))
        super().__init__(
            f"data directory of another cluster: {directory} was formed with --peers {was}, this start has {now}; "
            f"nothing was touched; start it with the former ones, or give this node its own directory"
        )
        self.stored = dict(stored)
        self.given = dict(given)


class WrongReadMode(StorageError):
    """How reads are confirmed is the cluster's, not a node's, and was fixed when it formed."""

    def __init__(self, directory: Path | str, *, stored_lease_ms: int, given_lease_ms: int) -> None:
        was, now = (f"lease of {ms} ms" if ms else "quorum" for ms in (stored_lease_ms, given_lease_ms))
        super().__init__(
            f"another read mode: the cluster of {directory} was formed with reads by {was}, this start asks for {now}; "
            f"nothing was touched; start it with the former --read-mode and --election-timeout-ms"
        )


class WrongCluster(StorageError):
    def __init__(self, what: str, *, stored: str, given: str) -> None:
        super().__init__(f"another cluster: the stored {what} is {stored}, the given one is {given}")
        self.stored = stored
        self.given = given


class DirectoryLocked(StorageError):
    """``pid`` is None where the holder has not written it yet."""

    def __init__(self, directory: Path, *, pid: int | None) -> None:
        holder = "another process" if pid is None else f"process {pid}"
        super().__init__(f"data directory {directory} is in use by {holder}; stop it, or use another directory")
        self.pid = pid


class UnsafeDirectory(StorageError):
    def __init__(self, directory: Path, *, mode: int) -> None:
        super().__init__(
            f"data directory {directory} has mode {mode:04o}, which lets other users in; "
            f"it must be 0700: chmod 700 {directory}"
        )
        self.mode = mode


class DirectoryUnusable(StorageError):
    def __init__(self, path: Path, *, why: str) -> None:
        super().__init__(f"cannot use {path}: {why}")


class Amnesia(StorageError):
    """The log cannot be proved whole (L11): what the high-water file says was durable is not in the database."""

    def __init__(self, what: str, *, in_file: str, in_database: str) -> None:
        super().__init__(
            f"the acceptor log is not whole: {what}: the high-water file says {in_file}, "
            f"the database says {in_database}; {_REJOIN}"
        )
        self.what = what
        self.in_file = in_file
        self.in_database = in_database


class CorruptRecord(StorageError):
    """``computed`` is None where the row's columns cannot even be read as a record."""

    def __init__(self, sequence: int, *, stored: int, computed: int | None) -> None:
        gives = "is unreadable" if computed is None else f"gives {computed:#010x}"
        super().__init__(
            f"record {sequence} of the acceptor log is corrupt: its checksum is {_hex(stored)}, its content {gives}; "
            f"{_REJOIN}"
        )
        self.sequence = sequence
        self.stored = stored
        self.computed = computed


class BrokenChain(StorageError):
    def __init__(self, sequence: int, *, stored: str, computed: str) -> None:
        super().__init__(
            f"record {sequence} of the acceptor log does not continue the one before it: its chain hash is {stored}, "
            f"the chain gives {computed}; {_REJOIN}"
        )
        self.sequence = sequence
        self.stored = stored
        self.computed = computed


class LostRecord(StorageError):
    """``found`` is the sequence that lies where ``sequence`` should, or None."""

    def __init__(self, sequence: int, *, found: int | None) -> None:
        instead = "nothing" if found is None else f"record {found}"
        super().__init__(
            f"record {sequence} of the acceptor log is missing: {instead} was found in its place; {_REJOIN}"
        )
        self.sequence = sequence
        self.found = found


class CorruptMeta(StorageError):
    """One of the few facts beside the records: identity, formation, anchor, peer sequences."""

    def __init__(self, name: str, *, stored: str, computed: str) -> None:
        super().__init__(
            f"the {name} entry of the acceptor log is corrupt: its checksum is {stored}, its content gives {computed}; "
            f"{_REJOIN}"
        )
        self.name = name


class UnreadableLog(StorageError):
    """SQLite itself gave up: a ``damaged`` file, or one that another program holds."""

    def __init__(self, path: Path, *, why: str, damaged: bool) -> None:
        remedy = _REJOIN if damaged else "nothing in it was changed"
        super().__init__(f"cannot use the acceptor log {path}: {why}; {remedy}")
        self.damaged = damaged


class UnknownFormat(StorageError):
    def __init__(self, what: str, *, found: int, known: int) -> None:
        super().__init__(
            f"{what} has format version {found}, this program knows version {known}; "
            f"run the version of kvstore that wrote it, or a newer one"
        )
        self.found = found
        self.known = known


class SettingRefused(StorageError):
    def __init__(self, setting: str, *, wanted: str, found: str) -> None:
        super().__init__(
            f"SQLite did not take the setting {setting} = {wanted}: it is {found}; without it a commit may not be "
            f"durable; use a local file system"
        )
        self.wanted = wanted
        self.found = found


class LogWriteFailed(StorageError):
    """It is unknown what the disk holds. The process ends; it never tries again (a second fsync may lie)."""

    def __init__(self, path: Path, *, why: str) -> None:
        super().__init__(f"cannot write {path}: {why}; the node stops, because what it would say may not be durable")


class DiskFull(StorageError):
    """Nothing of the write is in the log, which stays usable."""

    def __init__(self, path: Path | str, *, why: str) -> None:
        super().__init__(f"no space to write {path}: {why}; free some, reads go on")


def _hex(stored: object) -> str:
    # A flipped bit can make a number of any column a text.
    return f"{stored:#010x}" if isinstance(stored, int) else repr(stored)
