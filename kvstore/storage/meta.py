"""The few facts beside the records, as JSON in rows of their own, each with a checksum.

They change in the same transaction as what they speak of, or alone. All rows are read at once at open: nothing is
looked up by name, so no index on the disk is trusted.
"""

import json
import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kvstore.paxos.types import Ballot, NodeId, Slot
from kvstore.storage.chain import Anchor
from kvstore.storage.errors import CorruptMeta
from kvstore.storage.port import Formation, Identity

__all__ = ["Meta", "read_meta", "write_anchor", "write_formation", "write_identity", "write_peer_sequences"]

_IDENTITY, _ANCHOR, _FORMATION, _PEERS = "identity", "anchor", "formation", "peer_sequences"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """``identity`` carries the incarnation that was last begun; 0 is a birth that was not finished."""

    identity: Identity
    anchor: Anchor
    formation: Formation | None
    peer_sequences: dict[NodeId, int]


def read_meta(connection: sqlite3.Connection) -> Meta | None:
    """None where the log has no identity. Raises CorruptMeta."""
    rows: dict[str, Any] = {}
    for name, value, checksum in connection.execute("SELECT name, value, checksum FROM meta").fetchall():
        computed = _checksum(str(name), str(value))
        if computed != checksum:
            raise CorruptMeta(str(name), stored=str(checksum), computed=str(computed))
        rows[name] = json.loads(value)
    if _IDENTITY not in rows:
        return None
    if _ANCHOR not in rows:
        raise CorruptMeta(_ANCHOR, stored="missing", computed="nothing")
    formation = _formation(rows[_FORMATION]) if _FORMATION in rows else None
    identity, anchor = rows[_IDENTITY], rows[_ANCHOR]
    return Meta(
        identity=Identity(
            node_id=NodeId(identity["node_id"]),
            birth_id=bytes.fromhex(identity["birth_id"]),
            incarnation=identity["incarnation"],
            cluster_id=formation.cluster_id if formation else None,
        ),
        anchor=Anchor(
            sequence=anchor["sequence"],
            chain=bytes.fromhex(anchor["chain"]),
            promised=Ballot(anchor["promised"][0], NodeId(anchor["promised"][1])),
            first_slot=Slot(anchor["first_slot"]),
        ),
        formation=formation,
        peer_sequences={NodeId(int(node)): sequence for node, sequence in rows.get(_PEERS, {}).items()},
    )


def write_identity(connection: sqlite3.Connection, identity: Identity) -> None:
    _write(
        connection,
        _IDENTITY,
        {"node_id": identity.node_id, "birth_id": identity.birth_id.hex(), "incarnation": identity.incarnation},
    )


def write_anchor(connection: sqlite3.Connection, anchor: Anchor) -> None:
    _write(
        connection,
        _ANCHOR,
        {
            "sequence": anchor.sequence,
            "chain": anchor.chain.hex(),
            "promised": anchor.promised,
            "first_slot": anchor.first_slot,
        },
    )


def write_formation(connection: sqlite3.Connection, formation: Formation) -> None:
    _write(
        connection,
        _FORMATION,
        {
            "cluster_id": formation.cluster_id.hex(),
            "births": {str(node): birth.hex() for node, birth in formation.births.items()},
            "peers": {str(node): address for node, address in formation.peers.items()},
            "alpha": formation.alpha,
            "lease_ms": formation.lease_ms,
        },
    )


def write_peer_sequences(connection: sqlite3.Connection, sequences: Mapping[NodeId, int]) -> None:
    _write(connection, _PEERS, {str(node): sequence for node, sequence in sequences.items()})


def _formation(fields: dict[str, Any]) -> Formation:
    return Formation(
        cluster_id=bytes.fromhex(fields["cluster_id"]),
        births={NodeId(int(node)): bytes.fromhex(birth) for node, birth in fields["births"].items()},
        peers={NodeId(int(node)): address for node, address in fields["peers"].items()},
        alpha=fields["alpha"],
        lease_ms=fields["lease_ms"],
    )


def _write(connection: sqlite3.Connection, name: str, fields: dict[str, Any]) -> None:
    value = json.dumps(fields, separators=(",", ":"))
    connection.execute(
        "INSERT OR REPLACE INTO meta (name, value, checksum) VALUES (?, ?, ?)", (name, value, _checksum(name, value))
    )


def _checksum(name: str, value: str) -> int:
    return zlib.crc32(f"{name}\0{value}".encode())
