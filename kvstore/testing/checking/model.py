"""What the store should do, small enough to be believed: a dict of entries and one revision.

The checkers judge answers by this model; it shares nothing with the store that it judges. Every write that changes
something takes the next revision; a delete of nothing, a compare that fails and a read take none and answer with the
current one. ``apply`` can be undone, so that a search may step back.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, assert_never

__all__ = [
    "Action",
    "Applied",
    "Compare",
    "CompareAndSwap",
    "Delete",
    "KeyValue",
    "Model",
    "Put",
    "Range",
    "Response",
    "Write",
    "covers",
    "prefix_end",
]

Compare = Literal["value", "version", "create_revision", "mod_revision"]


class KeyValue(NamedTuple):
    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int


@dataclass(frozen=True, slots=True)
class Put:
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Range:
    """A linearizable read at the head: one key, or the half-open interval that etcd's ``range_end`` means."""

    key: bytes
    range_end: bytes = b""
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    key: bytes
    range_end: bytes = b""


@dataclass(frozen=True, slots=True)
class CompareAndSwap:
    """A transaction with one compare for equality: if it holds, ``value`` is put, or the key deleted if it is None.

    A key that does not exist has version and revisions 0 and equals no value.
    """

    key: bytes
    compare: Compare
    expected: bytes | int
    value: bytes | None

    def __post_init__(self) -> None:
        if isinstance(self.expected, bytes) != (self.compare == "value"):
            raise ValueError(f"a compare of the {self.compare} cannot expect {self.expected!r}")


Write = Put | Delete | CompareAndSwap
Action = Write | Range


@dataclass(frozen=True, slots=True)
class Response:
    """``revision`` is the header's. What a client did not ask for is None and is not compared.

    ``entries``: a range's answer; of a write, the covered entries before it. ``count``: all entries in a range
    whatever its limit; the number deleted. ``succeeded``: whether the compare held.
    """

    revision: int
    entries: tuple[KeyValue, ...] | None = None
    count: int | None = None
    succeeded: bool | None = None

    def matches(self, complete: "Response") -> bool:
        """Whether ``complete``, the model's, says the same wherever this one says something."""
        return (
            self.revision == complete.revision
            and (self.entries is None or self.entries == complete.entries)
            and (self.count is None or self.count == complete.count)
            and (self.succeeded is None or self.succeeded == complete.succeeded)
        )


class Applied(NamedTuple):
    """``changes``: each changed key with its entry before, None if it had none. Empty if no revision was taken."""

    response: Response
    changes: tuple[tuple[bytes, KeyValue | None], ...]


class Model:
    """The state at ``revision``."""

    def __init__(self, *, revision: int = 1, entries: Iterable[KeyValue] = ()) -> None:
        self.revision = revision
        self._entries = {entry.key: entry for entry in entries}
        self._keys = sorted(self._entries)

    def get(self, key: bytes) -> KeyValue | None:
        return self._entries.get(key)

    def select(self, key: bytes, range_end: bytes) -> tuple[KeyValue, ...]:
        """The entries in the interval, by key."""
        if not range_end:
            entry = self._entries.get(key)
            return () if entry is None else (entry,)
        start = bisect_left(self._keys, key)
        end = len(self._keys) if range_end == b"\0" else bisect_left(self._keys, range_end)
        return tuple(self._entries[found] for found in self._keys[start:end])

    def snapshot(self) -> tuple[KeyValue, ...]:
        return tuple(self._entries[key] for key in self._keys)

    def apply(self, action: Action) -> Applied:
        match action:
            case Put():
                before = self.select(action.key, b"")
                changes = (self._put(action.key, action.value),)
                return Applied(Response(self.revision, before), changes)
            case Range():
                found = self.select(action.key, action.range_end)
                shown = found[: action.limit] if action.limit > 0 else found
                return Applied(Response(self.revision, shown, len(found)), ())
            case Delete():
                before = self.select(action.key, action.range_end)
                self._delete(before)
                return Applied(Response(self.revision, before, len(before)), _deleted(before))
            case CompareAndSwap():
                return self._compare_and_swap(action)
            case _:
                assert_never(action)

    def undo(self, applied: Applied) -> None:
        """Takes back the last ``apply`` that was not taken back."""
        if applied.changes:
            self.revision -= 1
        for key, before in applied.changes:
            self._set(key, before)

    def _compare_and_swap(self, action: CompareAndSwap) -> Applied:
        before = self.select(action.key, b"")
        absent = None if action.compare == "value" else 0
        actual = getattr(before[0], action.compare) if before else absent
        if actual != action.expected:
            return Applied(Response(self.revision, before, succeeded=False), ())
        if action.value is not None:
            changes = (self._put(action.key, action.value),)
            return Applied(Response(self.revision, before, succeeded=True), changes)
        self._delete(before)
        return Applied(Response(self.revision, before, succeeded=True), _deleted(before))

    def _put(self, key: bytes, value: bytes) -> tuple[bytes, KeyValue | None]:
        self.revision += 1
        before = self._entries.get(key)
        if before is None:
            self._set(key, KeyValue(key, value, self.revision, self.revision, 1))
        else:
            self._set(key, KeyValue(key, value, before.create_revision, self.revision, before.version + 1))
        return key, before

    def _delete(self, entries: tuple[KeyValue, ...]) -> None:
        for entry in entries:
            self._set(entry.key, None)
        if entries:
            self.revision += 1

    def _set(self, key: bytes, entry: KeyValue | None) -> None:
        if entry is None:
            if self._entries.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]
            return
        if key not in self._entries:
            insort(self._keys, key)
        self._entries[key] = entry


def covers(action: Action, key: bytes) -> bool:
    """Whether the action reads or writes the key."""
    range_end = action.range_end if isinstance(action, Range | Delete) else b""
    if not range_end:
        return action.key == key
    return action.key <= key and (range_end == b"\0" or key < range_end)


def prefix_end(prefix: bytes) -> bytes:
    """The ``range_end`` that makes a range of all keys with the prefix."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b"\0"


def _deleted(entries: tuple[KeyValue, ...]) -> tuple[tuple[bytes, KeyValue], ...]:
    return tuple((entry.key, entry) for entry in entries)
