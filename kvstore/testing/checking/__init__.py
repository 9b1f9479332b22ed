"""Was it linearizable? Histories of clients, a linear-time checker, and a search for short histories that must agree.

``history`` says what an operation is, ``jsonl`` how histories are kept in files, ``linear_checker`` what is checked;
all judge by ``model``, which shares nothing with the store. Nothing here knows where a history comes from.
"""

from kvstore.testing.checking.decided_log import Command, LoggedSlot, Opaque
from kvstore.testing.checking.history import Failed, History, Operation, Outcome, Recorder, Unknown
from kvstore.testing.checking.jsonl import HistoryInvalid, HistoryWriter, read_history, read_operations, write_history
from kvstore.testing.checking.linear_checker import check
from kvstore.testing.checking.model import (
    Action,
    CompareAndSwap,
    Delete,
    KeyValue,
    Model,
    Put,
    Range,
    Response,
    Write,
    prefix_end,
)
from kvstore.testing.checking.search_checker import search
from kvstore.testing.checking.verdict import Rule, Verdict, Violation

__all__ = [
    "Action",
    "Command",
    "CompareAndSwap",
    "Delete",
    "Failed",
    "History",
    "HistoryInvalid",
    "HistoryWriter",
    "KeyValue",
    "LoggedSlot",
    "Model",
    "Opaque",
    "Operation",
    "Outcome",
    "Put",
    "Range",
    "Recorder",
    "Response",
    "Rule",
    "Unknown",
    "Verdict",
    "Violation",
    "Write",
    "check",
    "prefix_end",
    "read_history",
    "read_operations",
    "search",
    "write_history",
]
