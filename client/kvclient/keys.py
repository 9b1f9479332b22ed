"""Keys, values and intervals of keys, from what people write to what the wire carries.

On the wire an interval is (key, range_end): no range_end is the one key, range_end ``\\0`` is every key from ``key``
on. So the exclusive ends ``b""`` and ``b"\\0"`` cannot be said there; as ends they would name empty ranges, and on the
wire they would silently name one key, or everything: they are refused here.
"""

from typing import NamedTuple

__all__ = ["Interval", "Text", "between", "one", "starting_with", "to_bytes"]

Text = str | bytes


class Interval(NamedTuple):
    """The wire's form."""

    key: bytes
    range_end: bytes


_NO_END = b"\0"


def to_bytes(text: Text) -> bytes:
    """Bytes pass; a str is encoded in UTF-8, the escapes of undecodable bytes turned back into those bytes.

    So whatever ``os.fsdecode`` or a program's arguments gave reaches the store as it was.
    """
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode("utf-8", "surrogateescape")
    if isinstance(text, bytearray | memoryview):
        return bytes(text)
    raise TypeError(f"keys and values are str or bytes, not {type(text).__name__}: {text!r}")


def one(key: Text) -> Interval:
    """Just this key."""
    return Interval(to_bytes(key), b"")


def between(start: Text, end: Text | None) -> Interval:
    """All keys k with ``start`` ≤ k < ``end``; with ``end`` None, all from ``start`` on."""
    first = to_bytes(start) or b"\0"  # the empty key cannot be stored; this is the first that can
    if end is None:
        return Interval(first, _NO_END)
    last = to_bytes(end)
    if last in (b"", b"\0"):
        raise ValueError(f"no key lies below the end {last!r} of this range; for a range without an end pass None")
    return Interval(first, last)


def starting_with(prefix: Text) -> Interval:
    """All keys that begin with ``prefix``; all keys at all for the empty one."""
    first = to_bytes(prefix)
    stem = first.rstrip(b"\xff")  # the next key without this prefix: its last byte that can grow grows
    end = stem[:-1] + bytes([stem[-1] + 1]) if stem else _NO_END
    return Interval(first or b"\0", end)
