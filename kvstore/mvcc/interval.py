"""Half-open intervals of keys, and how a request's ``key`` and ``range_end`` name one.

etcd's cases: no ``range_end``: the one key. ``range_end`` = ``\\0``: every key ≥ ``key``, so all keys if both are
``\\0``. Otherwise [``key``, ``range_end``), which is empty, not wrong, where ``range_end`` ≤ ``key``.
"""

from typing import NamedTuple

__all__ = ["Interval", "interval"]


class Interval(NamedTuple):
    """The keys k with ``start`` ≤ k, and k < ``end`` unless that is None."""

    start: bytes
    end: bytes | None

    def __contains__(self, key: object) -> bool:
        assert isinstance(key, bytes), f"keys are bytes: {key!r}"
        return self.start <= key and (self.end is None or key < self.end)


def interval(key: bytes, range_end: bytes) -> Interval:
    """The interval that a request means."""
    if not range_end:
        return Interval(key, key + b"\0")  # no key lies between k and k\0
    return Interval(key, None if range_end == b"\0" else range_end)
