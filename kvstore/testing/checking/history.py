"""What clients did and what they were told: the operations of many clients, timed by one clock.

An **operation** is one request of one client: when it was invoked, when it returned, what it asked and how it ended.
The times are floats of one monotonic clock, that of whoever records: a simulator, or the process that runs the
clients. A client of one process is any sequence of operations; nothing is inferred from its name.

How an operation ends:

- a ``Response``: it took effect exactly once, between its invocation and its return;
- ``Failed``: the client was told that it was not and will not be applied;
- ``Unknown``: no answer (a lost connection, a timeout, still open at the end): it may take effect at any time after its
  invocation, once or never.

A write that carries (session, sequence) may be sent again under the same pair, in the same operation or in a second
one: both are then one request, which takes effect once and has one answer (L12). A retry without a session is a new
request: record the first one as ``Unknown``.

A history is complete: what no operation explains, the checkers call out of thin air. So every writer must be recorded,
reads must be linearizable and at the head (a serializable one promises nothing that could be checked), and a history
that begins with a store in use names the revision and the entries that it found. ``jsonl`` reads and writes histories.
"""

from dataclasses import dataclass, field

from kvstore.testing.checking.model import Action, CompareAndSwap, Delete, KeyValue, Range, Response

__all__ = ["Failed", "History", "Operation", "Outcome", "Recorder", "Unknown"]


@dataclass(frozen=True, slots=True)
class Failed:
    """Not applied, and never will be."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Applied once, now or later, or never."""

    reason: str = ""


Outcome = Response | Failed | Unknown


@dataclass(frozen=True, slots=True)
class Operation:
    """``returned_at`` is None if it never returned. ``session`` 0 is none. Raises ValueError on what cannot be."""

    client: str
    invoked_at: float
    returned_at: float | None
    action: Action
    outcome: Outcome
    session: int = 0
    sequence: int = 0

    def __post_init__(self) -> None:
        if self.returned_at is None and not isinstance(self.outcome, Unknown):
            raise ValueError("an operation that never returned has an unknown outcome")
        if self.returned_at is not None and not self.invoked_at <= self.returned_at:
            raise ValueError(f"an operation cannot return at {self.returned_at} if it is invoked at {self.invoked_at}")
        if bool(self.session) != bool(self.sequence):
            raise ValueError("a session and a sequence come together")
        if self.session and isinstance(self.action, Range):
            raise ValueError("a read has no session: a retried read is a new one")
        if isinstance(self.outcome, Response):
            if isinstance(self.action, CompareAndSwap) and self.outcome.succeeded is None:
                raise ValueError("the answer to a compare-and-swap says whether it succeeded")
            if isinstance(self.action, Delete) and self.outcome.count is None:
                raise ValueError("the answer to a delete says how many entries it deleted")

    def __str__(self) -> str:
        until = "…" if self.returned_at is None else f"{self.returned_at:.6f}"
        identity = f" ({self.session}, {self.sequence})" if self.session else ""
        return f"{self.client}{identity} [{self.invoked_at:.6f}, {until}] {self.action} → {self.outcome}"


@dataclass(slots=True)
class History:
    """``operations`` in any order; ``revision`` and ``entries`` are the store's before the first of them."""

    operations: list[Operation] = field(default_factory=list)
    revision: int = 1
    entries: tuple[KeyValue, ...] = ()


@dataclass(slots=True)
class _Open:
    client: str
    invoked_at: float
    action: Action
    session: int
    sequence: int


class Recorder:
    """Collects a history: ``invoked`` gives a number with which the operation is ended, once, or left open."""

    def __init__(self, *, revision: int = 1, entries: tuple[KeyValue, ...] = ()) -> None:
        self._history = History([], revision, entries)
        self._open: dict[int, _Open] = {}
        self._invoked = 0

    def invoked(self, client: str, action: Action, *, at: float, session: int = 0, sequence: int = 0) -> int:
        self._invoked += 1
        self._open[self._invoked] = _Open(client, at, action, session, sequence)
        return self._invoked

    def returned(self, number: int, outcome: Outcome, *, at: float) -> Operation:
        """Ends an open operation. Raises KeyError if it is not open."""
        operation = _operation(self._open.pop(number), outcome, returned_at=at)
        self._history.operations.append(operation)
        return operation

    def history(self) -> History:
        """All that returned, and what is still open as unknown."""
        still_open = [_operation(one, Unknown("open"), returned_at=None) for one in self._open.values()]
        return History([*self._history.operations, *still_open], self._history.revision, self._history.entries)


def _operation(one: _Open, outcome: Outcome, *, returned_at: float | None) -> Operation:
    return Operation(one.client, one.invoked_at, returned_at, one.action, outcome, one.session, one.sequence)
