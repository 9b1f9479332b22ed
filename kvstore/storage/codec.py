"""A value as bytes: a version byte, a kind byte, the payload.

Equal values have equal bytes. The format is storage's own: what is on the wire may change without the disk.
"""

import json
from typing import assert_never

from kvstore.paxos.types import Application, Configuration, NodeId, Noop, Value
from kvstore.storage.errors import UnknownFormat

__all__ = ["decode_value", "encode_value"]

_VERSION = 1
_NOOP, _APPLICATION, _CONFIGURATION = 0, 1, 2
_NOOP_BYTES = bytes((_VERSION, _NOOP))
_APPLICATION_HEADER = bytes((_VERSION, _APPLICATION))
_CONFIGURATION_HEADER = bytes((_VERSION, _CONFIGURATION))


def encode_value(value: Value) -> bytes:
    match value:
        case Application(data):
            return _APPLICATION_HEADER + data
        case Noop():
            return _NOOP_BYTES
        case Configuration():
            return _CONFIGURATION_HEADER + _encode_configuration(value)
        case _:
            assert_never(value)


def decode_value(encoded: bytes) -> Value:
    """The inverse. The bytes are trusted: their checksum was compared. Raises UnknownFormat."""
    version, kind = encoded[0], encoded[1]
    if version != _VERSION:
        raise UnknownFormat("a value in the acceptor log", found=version, known=_VERSION)
    if kind == _APPLICATION:
        return Application(encoded[2:])
    if kind == _NOOP:
        assert len(encoded) == len(_NOOP_BYTES), f"a no-op has no payload, not {len(encoded) - 2} bytes"
        return Noop()
    assert kind == _CONFIGURATION, f"a value of version {_VERSION} has no kind {kind}"
    return _decode_configuration(encoded[2:])


def _encode_configuration(configuration: Configuration) -> bytes:
    fields = {
        "epoch": configuration.epoch,
        "voters": configuration.voters,
        "learners": configuration.learners,
        "addresses": {str(node_id): address for node_id, address in configuration.addresses.items()},
        "lease_ms": configuration.lease_ms,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def _decode_configuration(payload: bytes) -> Configuration:
    fields = json.loads(payload)
    return Configuration(
        epoch=fields["epoch"],
        voters=tuple(NodeId(n) for n in fields["voters"]),
        learners=tuple(NodeId(n) for n in fields["learners"]),
        addresses={NodeId(n): fields["addresses"][str(n)] for n in sorted(map(int, fields["addresses"]))},
        lease_ms=fields["lease_ms"],
    )
