"""Histories as JSON lines, written and read as a stream.

Bytes are strings whose characters U+0000 to U+00FF stand for one byte each (latin-1), so that plain keys stay readable:
``b"k\\xff"`` is ``"k\\u00ff"``. An entry is an array: key, value, create_revision, mod_revision, version.

The first line is the header; ``revision`` and ``entries`` are what the store held before the first operation::

    {"format": "kvstore-history", "version": 1, "revision": 1, "entries": []}

Every other line is one operation, in any order. Fields in brackets may be absent::

    client         a name
    invoked_at     seconds of the recorder's monotonic clock
    returned_at    the same; null if it never returned
    [session, sequence]   whole numbers from 1, of a write that can be retried
    op             "put":    key, value
                   "range":  key, [range_end], [limit]      a get is a range of one key
                   "delete": key, [range_end]
                   "cas":    key, compare ("value", "version", "create_revision" or "mod_revision"),
                             expected (a string for a value, else a number), value (null: delete)
    outcome        "ok":      revision, [entries], [count], [succeeded]
                   "failed":  [reason]      not applied
                   "unknown": [reason]      applied or not

``entries`` of a write are the covered entries before it. A delete that is ok has ``count``, a cas has ``succeeded``::

    {"client": "a", "invoked_at": 0.5, "returned_at": 0.6, "op": "put", "key": "k", "value": "v", "outcome": "ok",
     "revision": 2}

(one line in the file). Empty lines are skipped. A last line that was cut off is an error like any other.
"""

import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

from kvstore.testing.checking.history import Failed, History, Operation, Outcome, Unknown
from kvstore.testing.checking.model import (
    Action,
    CompareAndSwap,
    Delete,
    KeyValue,
    Put,
    Range,
    Response,
)

__all__ = ["HistoryInvalid", "HistoryWriter", "read_history", "read_operations", "write_history"]

_FORMAT = "kvstore-history"
_VERSION = 1


class HistoryInvalid(Exception):
    """A line is not of the documented form."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class HistoryWriter:
    """Writes the header at once and each operation as it comes; whoever opened the file flushes and closes it."""

    def __init__(self, file: IO[str], *, revision: int = 1, entries: Iterable[KeyValue] = ()) -> None:
        self._file = file
        header = {"format": _FORMAT, "version": _VERSION, "revision": revision, "entries": _entries_out(entries)}
        self._file.write(json.dumps(header) + "\n")

    def write(self, operation: Operation) -> None:
        self._file.write(json.dumps(_operation_out(operation)) + "\n")


def write_history(history: History, file: IO[str]) -> None:
    writer = HistoryWriter(file, revision=history.revision, entries=history.entries)
    for operation in history.operations:
        writer.write(operation)


def read_history(file: Iterable[str]) -> History:
    """Raises HistoryInvalid."""
    lines = _lines(file)
    history = _header(lines)
    history.operations.extend(_operations(lines))
    return history


def read_operations(file: Iterable[str]) -> Iterator[Operation]:
    """One operation at a time, for a history that is not to be held in memory. Raises HistoryInvalid."""
    lines = _lines(file)
    _header(lines)
    yield from _operations(lines)


def _lines(file: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise HistoryInvalid(number, f"not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise HistoryInvalid(number, "not an object")
        yield number, fields


def _header(lines: Iterator[tuple[int, dict[str, Any]]]) -> History:
    number, fields = next(lines, (1, {}))
    if fields.get("format") != _FORMAT:
        raise HistoryInvalid(number, f"the first line names the format {_FORMAT}")
    if fields.get("version") != _VERSION:
        raise HistoryInvalid(number, f"version {fields.get('version')} is not known, only {_VERSION}")
    try:
        return History([], int(fields["revision"]), _entries_in(fields["entries"]))
    except (KeyError, TypeError, ValueError) as error:
        raise HistoryInvalid(number, _reason(error)) from error


def _operations(lines: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[Operation]:
    for number, fields in lines:
        try:
            yield _operation_in(fields)
        except (KeyError, TypeError, ValueError) as error:
            raise HistoryInvalid(number, _reason(error)) from error


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


# One line each way


def _operation_out(operation: Operation) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "client": operation.client,
        "invoked_at": operation.invoked_at,
        "returned_at": operation.returned_at,
    }
    if operation.session:
        fields |= {"session": operation.session, "sequence": operation.sequence}
    return fields | _action_out(operation.action) | _outcome_out(operation.outcome)


def _action_out(action: Action) -> dict[str, Any]:
    fields: dict[str, Any] = {"key": _text(action.key)}
    match action:
        case Put():
            return {"op": "put"} | fields | {"value": _text(action.value)}
        case Range():
            if action.limit:
                fields["limit"] = action.limit
            return {"op": "range"} | fields | {"range_end": _text(action.range_end)}
        case Delete():
            return {"op": "delete"} | fields | {"range_end": _text(action.range_end)}
        case CompareAndSwap():
            expected = _text(action.expected) if isinstance(action.expected, bytes) else action.expected
            value = None if action.value is None else _text(action.value)
            return {"op": "cas"} | fields | {"compare": action.compare, "expected": expected, "value": value}


def _outcome_out(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case Failed():
            return {"outcome": "failed", "reason": outcome.reason}
        case Unknown():
            return {"outcome": "unknown", "reason": outcome.reason}
        case Response():
            fields: dict[str, Any] = {"outcome": "ok", "revision": outcome.revision}
            if outcome.entries is not None:
                fields["entries"] = _entries_out(outcome.entries)
            if outcome.count is not None:
                fields["count"] = outcome.count
            if outcome.succeeded is not None:
                fields["succeeded"] = outcome.succeeded
            return fields


def _operation_in(fields: dict[str, Any]) -> Operation:
    returned_at = fields["returned_at"]
    return Operation(
        client=str(fields["client"]),
        invoked_at=float(fields["invoked_at"]),
        returned_at=None if returned_at is None else float(returned_at),
        action=_action_in(fields),
        outcome=_outcome_in(fields),
        session=int(fields.get("session", 0)),
        sequence=int(fields.get("sequence", 0)),
    )


def _action_in(fields: dict[str, Any]) -> Action:
    key = _bytes(fields["key"])
    match fields["op"]:
        case "put":
            return Put(key, _bytes(fields["value"]))
        case "range":
            return Range(key, _bytes(fields.get("range_end", "")), int(fields.get("limit", 0)))
        case "delete":
            return Delete(key, _bytes(fields.get("range_end", "")))
        case "cas":
            compare = fields["compare"]
            if compare not in ("value", "version", "create_revision", "mod_revision"):
                raise ValueError(f"compare {compare!r} is not known")
            expected = _bytes(fields["expected"]) if compare == "value" else int(fields["expected"])
            value = None if fields["value"] is None else _bytes(fields["value"])
            return CompareAndSwap(key, compare, expected, value)
        case other:
            raise ValueError(f"op {other!r} is not known")


def _outcome_in(fields: dict[str, Any]) -> Outcome:
    match fields["outcome"]:
        case "ok":
            entries, count = fields.get("entries"), fields.get("count")
            return Response(
                revision=int(fields["revision"]),
                entries=None if entries is None else _entries_in(entries),
                count=None if count is None else int(count),
                succeeded=fields.get("succeeded"),
            )
        case "failed":
            return Failed(str(fields.get("reason", "")))
        case "unknown":
            return Unknown(str(fields.get("reason", "")))
        case other:
            raise ValueError(f"outcome {other!r} is not known")


def _entries_out(entries: Iterable[KeyValue]) -> list[list[str | int]]:
    return [[_text(one.key), _text(one.value), one.create_revision, one.mod_revision, one.version] for one in entries]


def _entries_in(entries: list[list[Any]]) -> tuple[KeyValue, ...]:
    return tuple(
        KeyValue(_bytes(key), _bytes(value), int(create), int(mod), int(version))
        for key, value, create, mod, version in entries
    )


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _bytes(text: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not a string")
    return text.encode("latin-1")
