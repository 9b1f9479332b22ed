"""One row of the append-only log: what happened, in which order, and a checksum over all of it.

The checksum is CRC-32 (zlib's): over a 30 kB value it takes 7 µs where an 8-byte BLAKE2b takes 32 µs, and it finds
every burst of up to 32 flipped bits and all but one in four billion other damages. It guards against disks, not against
people. It covers the sequence, so that a record read from another's place does not pass either. A CRC says nothing
about what is missing: that is the chain's part (``kvstore.storage.chain``).
"""

import struct
import zlib
from typing import NamedTuple, assert_never

from kvstore.paxos.durable import AcceptRecord, LearnRecord, PromiseRecord, Record
from kvstore.paxos.types import Ballot, NodeId
from kvstore.storage.codec import encode_value
from kvstore.storage.errors import CorruptRecord, UnknownFormat

__all__ = ["ACCEPT", "CHAIN_BYTES", "LEARN", "PROMISE", "Row", "checksum_of", "fields_of", "verify_checksum"]

PROMISE, ACCEPT, LEARN = 1, 2, 3
CHAIN_BYTES = 16

_HEADER = struct.Struct("<QBqQQq")  # sequence, kind, slot or -1, round, node, length of the value or -1


class Row(NamedTuple):
    """As it lies in the table, the columns in their order. ``slot`` and ``value`` are None for a promise."""

    sequence: int
    kind: int
    slot: int | None
    round: int
    node: int
    value: bytes | None
    checksum: int
    chain: bytes

    @property
    def ballot(self) -> Ballot:
        return Ballot(self.round, NodeId(self.node))

    @property
    def is_vote(self) -> bool:
        """A promise or an accept binds this acceptor to the ballot; a learned value does not."""
        return self.kind != LEARN


def fields_of(record: Record) -> tuple[int, int | None, Ballot, bytes | None]:
    """Kind, slot, ballot and encoded value."""
    match record:
        case AcceptRecord(slot, ballot, value):
            return ACCEPT, slot, ballot, encode_value(value)
        case PromiseRecord(ballot):
            return PROMISE, None, ballot, None
        case LearnRecord(slot, ballot, value):
            return LEARN, slot, ballot, encode_value(value)
        case _:
            assert_never(record)


def checksum_of(sequence: int, kind: int, slot: int | None, ballot: Ballot, value: bytes | None) -> int:
    """Positional, being called for every record."""
    header = _HEADER.pack(
        sequence,
        kind,
        -1 if slot is None else slot,
        ballot[0],
        ballot[1],
        -1 if value is None else len(value),
    )
    return zlib.crc32(header) if value is None else zlib.crc32(value, zlib.crc32(header))


def verify_checksum(row: Row) -> None:
    """Raises CorruptRecord, or UnknownFormat for an intact record of a kind that only a newer program writes."""
    try:
        computed = checksum_of(row.sequence, row.kind, row.slot, row.ballot, row.value)
    except (struct.error, TypeError):  # a flipped bit in a row's header changes the types of its columns
        raise CorruptRecord(row.sequence, stored=row.checksum, computed=None) from None
    if computed != row.checksum:
        raise CorruptRecord(row.sequence, stored=row.checksum, computed=computed)
    if row.kind not in (PROMISE, ACCEPT, LEARN):
        raise UnknownFormat(f"record {row.sequence} of the acceptor log", found=row.kind, known=LEARN)
    assert (row.slot is None) == (row.kind == PROMISE), f"record {row.sequence}: slot {row.slot} in kind {row.kind}"
    assert (row.value is None) == (row.kind == PROMISE), f"record {row.sequence}: a value in kind {row.kind}"
