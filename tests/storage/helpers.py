"""Records and disks for the stories of this folder."""

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kvstore.paxos.durable import AcceptRecord, LearnRecord, PromiseRecord, Record, Write
from kvstore.paxos.types import Application, Ballot, NodeId, Slot, WriteId
from kvstore.storage.port import AcceptorLog
from kvstore.storage.sqlite_log import SqliteAcceptorLog

ME = NodeId(1)


@dataclass(frozen=True)
class Restartable:
    """A log's place: ``open`` starts the node there, again and again; ``fill`` makes the disk full."""

    open: Callable[..., AcceptorLog]
    fill: Callable[[AcceptorLog, bool], None]


def ballot(round_: int, node: int = 1) -> Ballot:
    return Ballot(round_, NodeId(node))


def promise(round_: int) -> PromiseRecord:
    return PromiseRecord(ballot(round_))


def accept(slot: int, round_: int, data: bytes) -> AcceptRecord:
    return AcceptRecord(Slot(slot), ballot(round_), Application(data))


def learn(slot: int, round_: int, data: bytes) -> LearnRecord:
    return LearnRecord(Slot(slot), ballot(round_), Application(data))


def write(*records: Record) -> Write:
    return Write(WriteId(1), records)


def open_sqlite(directory: Path, node_id: int = ME) -> SqliteAcceptorLog:
    return SqliteAcceptorLog.open(directory, node_id=NodeId(node_id))


def photograph(directory: Path, into: Path) -> Path:
    """The files of a node that may be running, as a SIGKILL at this moment would leave them."""
    shutil.copytree(directory, into)
    into.chmod(0o700)
    return into


def edit(directory: Path, sql: str, *parameters: object) -> None:
    """Changes a stopped node's database behind its back."""
    connection = sqlite3.connect(directory / "acceptor.db")
    try:
        with connection:
            assert connection.execute(sql, parameters).rowcount == 1
    finally:
        connection.close()


def flip(file: Path, offset: int, bit: int = 0) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 1 << bit
    file.write_bytes(content)


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(directory.iterdir())}
