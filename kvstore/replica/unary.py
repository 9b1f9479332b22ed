"""The session of this process, in which all writes travel that clients sent without one of their own.

So that a change of leader need not surface to them: the node may send them again (L12). The session is opened through
the log before the first of them leaves; where it has expired meanwhile, another is opened, and what certainly was not
applied goes into that one.
"""

from collections import deque
from dataclasses import dataclass

from kvproto.command_pb2 import Entry

from kvstore.mvcc.results import Refusal, Result
from kvstore.replica.steps import Answered, Undone, WriteFailed
from kvstore.replica.writes import Overloaded, Writes

__all__ = ["UnarySession"]

_GIVEN_UP_MAX = 1024


@dataclass(slots=True)
class _Unary:
    entry: Entry
    sequence: int = 0
    """0: it waits for the session to open, or for room in it."""


class UnarySession:
    """``window`` is how far sequences may run ahead of the lowest unanswered one."""

    def __init__(self, writes: Writes, *, window: int, waiting_max: int) -> None:
        self._writes = writes
        self._window = window
        self._waiting_max = waiting_max
        self._session = 0
        """The open one; 0 while there is none. Former ones stay attached: what was sent in them gets its answers."""
        self._sessions: set[int] = set()
        self._opening = 0
        self._next_ticket = 1
        self._next_sequence = 1
        self._unary: dict[int, _Unary] = {}
        self._tickets: dict[tuple[int, int], int] = {}
        self._waiting: deque[int] = deque()

    def add(self, entry: Entry) -> int:
        """An answer will name the ticket. Raises Overloaded."""
        if len(self._unary) >= self._waiting_max:
            raise Overloaded
        ticket = self._next_ticket
        self._next_ticket += 1
        self._unary[ticket] = _Unary(entry)
        self._waiting.append(ticket)
        return ticket

    def forget(self, ticket: int) -> bool:
        """The client gave up. True where the write was certainly not proposed, and never will be."""
        unary = self._unary.pop(ticket, None)
        if unary is None:
            return False
        if not unary.sequence:
            if len(self._waiting) > 2 * len(self._unary) + _GIVEN_UP_MAX:
                self._waiting = deque(waits for waits in self._waiting if waits in self._unary)
            return True
        session = unary.entry.session
        self._tickets.pop((session, unary.sequence), None)
        return self._writes.forget(session, unary.sequence)

    @property
    def is_due(self) -> bool:
        """Whether ``submit`` would do something now."""
        if not self._waiting:
            return False
        return self._room > 0 if self._session else not self._opening

    def submit(self) -> None:
        """Numbers what waits and hands it to the writes, as far as they and the session's window have room."""
        if not self._waiting:
            return
        if not self._session:
            if not self._opening:
                self._opening = self._writes.open_session()
            return
        lowest, room = self._lowest_pending, self._room
        entries: list[Entry] = []
        while self._waiting and len(entries) < room:
            ticket = self._waiting.popleft()
            unary = self._unary.get(ticket)
            if unary is None:
                continue  # forgotten meanwhile
            unary.sequence = unary.entry.sequence = self._next_sequence
            unary.entry.session = self._session
            self._tickets[self._session, unary.sequence] = ticket
            self._next_sequence += 1
            entries.append(unary.entry)
        if entries:
            entries[0].unanswered_from = lowest
            self._writes.submit(self._session, entries)

    def opened(self, number: int, session: int) -> bool:
        """Whether this was our opening."""
        if number != self._opening:
            return False
        self._session, self._opening = session, 0
        self._sessions.add(session)
        self._next_sequence = 1
        self._writes.attach(session)
        return True

    def is_own(self, session: int) -> bool:
        return session in self._sessions

    def answered(self, session: int, answers: list[tuple[int, Result]]) -> list[Answered | WriteFailed]:
        """What the tickets' owners are told."""
        told: list[Answered | WriteFailed] = []
        for sequence, result in answers:
            ticket = self._tickets.pop((session, sequence), 0)
            refusal = result if isinstance(result, Refusal) else None
            if refusal is not None and refusal.session_expired and session == self._session:
                self._session = 0
            if not ticket:
                continue
            if refusal is not None and refusal.session_expired and not refusal.fate_unknown:
                self._wait_again(ticket)
                continue
            del self._unary[ticket]
            if refusal is not None and refusal.fate_unknown:
                told.append(WriteFailed(ticket, Undone.UNKNOWN))
            else:
                told.append(Answered(ticket, result))
        return told

    @property
    def _lowest_pending(self) -> int:
        return self._writes.lowest_pending(self._session, otherwise=self._next_sequence)

    @property
    def _room(self) -> int:
        """How many more may be submitted now."""
        return min(self._lowest_pending + self._window - self._next_sequence, self._writes.room)

    def _wait_again(self, ticket: int) -> None:
        """In the next session: this one certainly did not apply it."""
        fresh = Entry()
        fresh.CopyFrom(self._unary[ticket].entry)
        fresh.ClearField("unanswered_from")
        self._unary[ticket] = _Unary(fresh)
        self._waiting.append(ticket)
