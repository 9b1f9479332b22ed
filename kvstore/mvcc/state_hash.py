"""A running hash by which replicas compare their states.

Each slot's digest covers the digest before it, the slot's number and every logical row that the slot brought forth, in
order. Replicas that applied the same slots have the same digest however they grouped the slots into transactions, and a
divergence shows in the first slot that has one. Hashed are integers and byte strings of our own choosing, each with a
tag and a length, never a serialized message or a file: those may differ between versions that agree (L8).
"""

import hashlib
import struct

__all__ = ["DIGEST_SIZE", "EMPTY_DIGEST", "StateHash"]

DIGEST_SIZE = 32
EMPTY_DIGEST = bytes(DIGEST_SIZE)

_ROW = struct.Struct("<BQQQQqQQ")  # tag, row, revision, create_revision, version, lease, length of key, of value
_FACT = struct.Struct("<BB")  # tag, number of fields
_INTEGER = struct.Struct("<BQ")
_BYTES = struct.Struct("<BQ")
_ANSWERED = struct.Struct("<BQQ")  # tag, session, sequence
_SLOT = struct.Struct("<QQ")  # slot, length of what follows

_ROW_TAG, _FACT_TAG, _INTEGER_TAG, _BYTES_TAG, _ANSWERED_TAG = 1, 2, 3, 4, 5


class StateHash:
    """``digest`` is that of the last slot that ended; effects since then wait for ``end_slot``."""

    def __init__(self, digest: bytes) -> None:
        assert len(digest) == DIGEST_SIZE, f"a digest has {DIGEST_SIZE} bytes, not {len(digest)}"
        self.digest = digest
        self._parts: list[bytes] = []

    def row(  # noqa: PLR0917 - the hottest call of all: keywords cost
        self, row: int, revision: int, key: bytes, value: bytes, create_revision: int, version: int, lease: int
    ) -> None:
        """One row of the revisions table; version 0 is a tombstone."""
        self._parts += (
            _ROW.pack(_ROW_TAG, row, revision, create_revision, version, lease, len(key), len(value)),
            key,
            value,
        )

    def answered(self, session: int, sequence: int) -> None:
        """A session's request got its first answer."""
        self._parts.append(_ANSWERED.pack(_ANSWERED_TAG, session, sequence))

    def fact(self, kind: str, *fields: int | bytes | str) -> None:
        """Anything else: a session opened, a member, a configuration."""
        self._parts.append(_FACT.pack(_FACT_TAG, len(fields) + 1))
        for field in (kind, *fields):
            if isinstance(field, int):
                self._parts.append(_INTEGER.pack(_INTEGER_TAG, field))
            else:
                data = field.encode() if isinstance(field, str) else field
                self._parts += (_BYTES.pack(_BYTES_TAG, len(data)), data)

    def end_slot(self, slot: int) -> None:
        """Chains what this slot did, be it nothing."""
        effects = b"".join(self._parts)
        self._parts.clear()
        hasher = hashlib.blake2b(self.digest, digest_size=DIGEST_SIZE)
        hasher.update(_SLOT.pack(slot, len(effects)))
        hasher.update(effects)
        self.digest = hasher.digest()
