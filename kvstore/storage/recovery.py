"""Proving at start that the log is whole (L11): every record, the chain through them, and the witness beside them."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from kvstore.paxos.types import Ballot
from kvstore.storage.chain import Anchor, verify_link
from kvstore.storage.errors import Amnesia, UnreadableLog
from kvstore.storage.high_water import Mark
from kvstore.storage.port import Identity
from kvstore.storage.records import Row
from kvstore.storage.slot_index import SlotIndex

__all__ = ["ScannedLog", "prove_identity", "prove_whole", "scan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedLog:
    """The log's end, and what was found on the way there.

    ``chain_at_mark`` is the chain hash at the witness's sequence, None where the log does not reach it or begins later.
    """

    sequence: int
    chain: bytes
    promised: Ballot
    slots: SlotIndex
    records: int
    chain_at_mark: bytes | None


def scan(connection: sqlite3.Connection, *, anchor: Anchor, mark: Mark, path: Path) -> ScannedLog:
    """Reads and verifies every record behind the anchor. Raises UnreadableLog and what ``verify_link`` raises."""
    # A damaged list of free pages passes every read, and destroys records at the next write.
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise UnreadableLog(path, why=" ".join(str(verdict).split()), damaged=True)
    sequence, chain, promised = anchor.sequence, anchor.chain, anchor.promised
    chain_at_mark = chain if mark.sequence == sequence else None
    slots = SlotIndex()
    cursor = connection.execute(
        "SELECT sequence, kind, slot, round, node, value, checksum, chain FROM records "
        "WHERE sequence > ? ORDER BY sequence",
        (anchor.sequence,),
    )
    for columns in cursor:
        row = Row._make(columns)
        verify_link(row, sequence=sequence, chain=chain)
        sequence, chain = row.sequence, row.chain
        if row.is_vote and row.ballot > promised:
            promised = row.ballot
        if row.slot is not None:
            slots.set(row.slot, sequence)
        if sequence == mark.sequence:
            chain_at_mark = chain
    return ScannedLog(
        sequence=sequence,
        chain=chain,
        promised=promised,
        slots=slots,
        records=sequence - anchor.sequence,
        chain_at_mark=chain_at_mark,
    )


def prove_identity(stored: Identity, mark: Mark) -> None:
    """That file and database belong together and the database is not the older of the two. Raises Amnesia."""
    if stored.birth_id != mark.birth_id or stored.node_id != mark.node_id:
        raise Amnesia(
            "the two are of different births",
            in_file=f"node {mark.node_id}, birth {mark.birth_id.hex()}",
            in_database=f"node {stored.node_id}, birth {stored.birth_id.hex()}",
        )
    if stored.incarnation < mark.incarnation:
        raise Amnesia(
            "the database is an older one",
            in_file=f"incarnation {mark.incarnation}",
            in_database=f"incarnation {stored.incarnation}",
        )
    if mark.cluster_id is not None and stored.cluster_id != mark.cluster_id:
        raise Amnesia(
            "the two are of different clusters",
            in_file=f"cluster {mark.cluster_id.hex()}",
            in_database=f"cluster {stored.cluster_id.hex()}" if stored.cluster_id else "no cluster yet",
        )


def prove_whole(scanned: ScannedLog, mark: Mark, *, anchor: Anchor) -> None:
    """That all that the witness saw durable is there. A tail beyond it is normal: its chain was verified."""
    if scanned.sequence < mark.sequence:
        raise Amnesia(
            "records were lost", in_file=f"sequence {mark.sequence}", in_database=f"sequence {scanned.sequence}"
        )
    if scanned.chain_at_mark is None:  # a cut settles the file before it moves the anchor
        raise Amnesia(
            "the log begins after the mark",
            in_file=f"sequence {mark.sequence}",
            in_database=f"first record after {anchor.sequence}",
        )
    if scanned.chain_at_mark != mark.chain:
        raise Amnesia(
            f"the records up to {mark.sequence} are not those that were written",
            in_file=f"chain hash {mark.chain.hex()}",
            in_database=f"chain hash {scanned.chain_at_mark.hex()}",
        )
    highest = scanned.slots.end - 1
    if scanned.promised < mark.promised or highest < mark.highest_accepted or anchor.first_slot < mark.first_slot:
        raise Amnesia(
            "the log holds less than was promised",
            in_file=f"promised {mark.promised}, slots {mark.first_slot} to {mark.highest_accepted}",
            in_database=f"promised {scanned.promised}, slots {anchor.first_slot} to {highest}",
        )
