"""The chain of hashes through the log: each record's hash is keyed by that of the record before it.

Two logs whose hashes at some sequence are equal are equal up to there. So the sixteen bytes in the high-water file
vouch for the whole log, and a tail that SQLite dropped in silence, a database put back from a copy, or rows exchanged
between nodes all show (L11). The chain begins at an anchor: at first a hash of who the node is, later whatever record
was the last of a prefix that was cut off.

A record's value enters the chain by its checksum, so each byte of it is read once.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from kvstore.paxos.durable import Record
from kvstore.paxos.types import ZERO_BALLOT, Ballot, NodeId, Slot
from kvstore.storage.errors import BrokenChain, LostRecord
from kvstore.storage.records import CHAIN_BYTES, Row, checksum_of, fields_of, verify_checksum

__all__ = ["Anchor", "genesis", "link", "verify_link"]

_LINK = struct.Struct("<QBqQQI")  # sequence, kind, slot or -1, round, node, checksum


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """What the log's lost prefix amounts to: the records after ``sequence`` continue it. At birth nothing is lost."""

    sequence: int
    chain: bytes
    promised: Ballot
    first_slot: Slot


def genesis(*, node_id: NodeId, birth_id: bytes) -> Anchor:
    """The anchor of a log without records."""
    chain = hashlib.blake2b(
        birth_id + node_id.to_bytes(8, "little"), digest_size=CHAIN_BYTES, person=b"kv-acceptor-log"
    )
    return Anchor(sequence=0, chain=chain.digest(), promised=ZERO_BALLOT, first_slot=Slot(0))


def link(records: Iterable[Record], *, sequence: int, chain: bytes) -> list[Row]:
    """The rows that append ``records`` to a log that ends with ``sequence`` and ``chain``."""
    assert len(chain) == CHAIN_BYTES, f"a chain hash has {CHAIN_BYTES} bytes, not {len(chain)}"
    rows = []
    for record in records:
        sequence += 1
        kind, slot, ballot, value = fields_of(record)
        assert slot is None or slot >= 0, f"slot {slot} is negative"
        checksum = checksum_of(sequence, kind, slot, ballot, value)
        chain = _next(chain, sequence, kind, slot, ballot, checksum)
        rows.append(Row(sequence, kind, slot, ballot[0], ballot[1], value, checksum, chain))
    return rows


def verify_link(row: Row, *, sequence: int, chain: bytes) -> None:
    """That ``row`` is intact and follows the record ``sequence``. Raises CorruptRecord, LostRecord or BrokenChain."""
    if row.sequence != sequence + 1:
        raise LostRecord(sequence + 1, found=row.sequence)
    verify_checksum(row)
    computed = _next(chain, row.sequence, row.kind, row.slot, row.ballot, row.checksum)
    if computed != row.chain:
        stored = row.chain.hex() if isinstance(row.chain, bytes) else repr(row.chain)
        raise BrokenChain(row.sequence, stored=stored, computed=computed.hex())


def _next(  # noqa: PLR0917  called for every record
    previous: bytes, sequence: int, kind: int, slot: int | None, ballot: Ballot, checksum: int
) -> bytes:
    content = _LINK.pack(sequence, kind, -1 if slot is None else slot, ballot[0], ballot[1], checksum)
    return hashlib.blake2b(content, digest_size=CHAIN_BYTES, key=previous).digest()
