"""Values on the disk: pinned bytes, since a log written today is read by every later version."""

import pytest

from kvstore.paxos.types import Application, Configuration, NodeId, Noop, Value
from kvstore.storage.codec import decode_value, encode_value
from kvstore.storage.errors import UnknownFormat

CONFIGURATION = Configuration(7, (NodeId(1), NodeId(12)), (NodeId(3),), {NodeId(12): "b:2", NodeId(1): "a:1"}, 500)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (Noop(), b"\x01\x00"),
        (Application(b""), b"\x01\x01"),
        (Application(b"\x00\xff"), b"\x01\x01\x00\xff"),
        (
            CONFIGURATION,
            b'\x01\x02{"addresses":{"1":"a:1","12":"b:2"},"epoch":7,"learners":[3],"lease_ms":500,"voters":[1,12]}',
        ),
    ],
)
def test_each_kind_has_its_bytes(value: Value, encoded: bytes) -> None:
    assert encode_value(value) == encoded
    assert decode_value(encoded) == value


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(UnknownFormat, match=r"a value in the acceptor log has format version 2, .* version 1"):
        decode_value(b"\x02\x01abc")
