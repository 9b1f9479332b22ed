"""What a session must still know (L12): books of our own, kept from decided entries in slot order.

They share nothing with ``kvstore.mvcc.sessions`` but the weight of an answer. A request that is new must be carried
out, one whose answer is still owed must get it, and only what the bounds allow to be forgotten may be refused (L13).
"""

import enum
from dataclasses import dataclass, field

from kvproto.command_pb2 import Entry

from kvstore.mvcc.answers import weight
from kvstore.mvcc.limits import Limits
from kvstore.mvcc.results import Refusal, Result, SessionOpened, SessionsExpired

__all__ = ["SessionBooks"]


class _Fate(enum.Enum):
    """What becomes of an entry that belongs to a session."""

    ANSWERED = "answered"
    FORGOTTEN = "refused, as its answer may be forgotten"
    EXPIRED = "refused, as its session is gone"


@dataclass(slots=True)
class _Session:
    last_slot: int
    highest: int = 0
    floor: int = 0
    """Answers at or below need not be known any more, for whichever of the reasons."""
    too_heavy: int = 0
    """Those at or below made the others too heavy to keep."""
    weights: dict[int, int] = field(default_factory=dict)
    """Of the answers above the floor, by sequence."""


class SessionBooks:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sessions: dict[int, _Session] = {}
        self._newest = 0

    def enter(self, slot: int, entry: Entry, result: Result) -> str | None:
        """The next decided entry, and what came of it; says what is wrong with that, if anything is."""
        if entry.session:
            return self._request(slot, entry, result)
        if entry.HasField("open_session"):
            return self._open(slot, result)
        if entry.HasField("expire_sessions"):
            return self._expire(entry.expire_sessions.unused_since_slot, result)
        return None

    def owes(self, session: int, sequence: int) -> bool:
        """Whether the node that sent the request, and still waits, must be told what came of it.

        It keeps within the session's window, and says only of what nobody waits for that it needs no answer.
        """
        known = self._sessions.get(session)
        return known is not None and sequence > known.too_heavy

    def _open(self, slot: int, result: Result) -> str | None:
        if len(self._sessions) >= self._limits.sessions_max:
            del self._sessions[min(self._sessions, key=lambda id_: (self._sessions[id_].last_slot, id_))]
        if not isinstance(result, SessionOpened) or result.session <= self._newest:
            return f"a session was asked for; sessions up to {self._newest} were used"
        self._newest = result.session
        self._sessions[result.session] = _Session(slot)
        return None

    def _expire(self, unused_since: int, result: Result) -> str | None:
        before = len(self._sessions)
        self._sessions = {id_: s for id_, s in self._sessions.items() if s.last_slot >= unused_since}
        dropped = before - len(self._sessions)
        if result == SessionsExpired(dropped):
            return None
        return f"{dropped} sessions were unused since slot {unused_since}"

    def _request(self, slot: int, entry: Entry, result: Result) -> str | None:
        expected = self._fate(slot, entry, result)
        if expected is _found(result):
            return None
        return f"request {entry.session, entry.sequence} must be {expected.value}: {self._sessions.get(entry.session)}"

    def _fate(self, slot: int, entry: Entry, result: Result) -> _Fate:
        session = self._sessions.get(entry.session)
        if session is None:
            return _Fate.EXPIRED
        sequence = entry.sequence
        session.last_slot = slot
        session.floor = max(session.floor, min(entry.unanswered_from, sequence) - 1)
        if sequence <= session.floor:
            return _Fate.FORGOTTEN
        if sequence not in session.weights:
            session.weights[sequence] = weight(result)
            session.highest = max(session.highest, sequence)
            session.floor = max(session.floor, session.highest - self._limits.answers_per_session_max)
            self._shed(session)
        return _Fate.ANSWERED

    def _shed(self, session: _Session) -> None:
        """The lowest of the answers that weigh something go first; the newest stays, whatever it weighs."""
        for sequence in sorted(session.weights):
            heavy = sum(w for s, w in session.weights.items() if s > session.floor)
            if heavy <= self._limits.answer_bytes_per_session_max or sequence == session.highest:
                break
            if sequence > session.floor and session.weights[sequence]:
                session.floor = session.too_heavy = sequence
        session.weights = {s: w for s, w in session.weights.items() if s > session.floor}


def _found(result: Result) -> _Fate:
    if isinstance(result, Refusal) and result.session_expired:
        return _Fate.EXPIRED
    return _Fate.FORGOTTEN if isinstance(result, Refusal) and result.fate_unknown else _Fate.ANSWERED
