"""Exactly once: sessions, and the answers they keep (L12).

A client opens a session and numbers its requests from 1. A (session, sequence) that was answered gets the same answer
again. Sequences may come out of order, since a client's requests may travel through several nodes: whatever was not
answered and is above the session's floor is new.

**Bounds (L13).** A session keeps the answers above its ``floor``, which rises when the client says which answers it
has, with the highest sequence, and with the weight of large answers. At or below it nobody knows any more whether a
request was applied, so it is refused, its fate unknown. At ``sessions_max`` opening one drops the one used longest ago;
those unused for long are dropped when the leader says so in the log (L8: a clock decides only when). All of that is
decided entry by entry from logical facts, so that replicas agree however they group slots into transactions; only the
deletion of rows waits for the flush.

A plain put's answer is its revision alone. Those are kept in memory and in one column of the session's row; a row each
would cost more than the put. In memory besides: one small record per session, and this turn's other answers.
"""

import sqlite3
import struct
from bisect import insort
from dataclasses import dataclass, field
from itertools import takewhile

from kvproto.etcd.rpc_pb2 import PutResponse

from kvstore.mvcc.answers import decode_answer, encode_answer, weight
from kvstore.mvcc.errors import AnswerForgotten, SequenceInvalid, SessionExpired
from kvstore.mvcc.limits import Limits
from kvstore.mvcc.results import Result, SessionOpened, SessionsExpired
from kvstore.mvcc.state_hash import StateHash

__all__ = ["Sessions"]

_INTEGER_MAX = 2**63 - 1

_SELECT_SESSIONS = "SELECT id, last_slot, highest_sequence, floor, puts FROM sessions ORDER BY last_slot, id"
_SELECT_WEIGHTS = "SELECT session, sequence, weight FROM answers WHERE weight > 0 ORDER BY session, sequence"
_SELECT_ANSWER = "SELECT kind, number, body FROM answers WHERE session = ? AND sequence = ?"
_SET_SESSION = "INSERT OR REPLACE INTO sessions (id, last_slot, highest_sequence, floor, puts) VALUES (?, ?, ?, ?, ?)"
_ADD_ANSWER = "INSERT INTO answers (session, sequence, kind, number, weight, body) VALUES (?, ?, ?, ?, ?, ?)"
_FORGET_ANSWERS = "DELETE FROM answers WHERE session = ? AND sequence <= ?"
_DROP_SESSION = "DELETE FROM sessions WHERE id = ?"
_DROP_ANSWERS = "DELETE FROM answers WHERE session = ?"


@dataclass(slots=True)
class _Session:
    id: int
    last_slot: int
    highest: int = 0
    floor: int = 0
    puts: dict[int, int] = field(default_factory=dict)  # sequence: revision, of plain puts
    weighty: list[tuple[int, int]] = field(default_factory=list)  # (sequence, weight) of large answers, in order
    weight: int = 0  # their sum


class Sessions:
    """``opened`` counts all sessions that ever were: the last one's id."""

    def __init__(self, connection: sqlite3.Connection, state_hash: StateHash, limits: Limits, *, opened: int) -> None:
        self.opened = opened
        self._connection = connection
        self._hash = state_hash
        self._limits = limits
        # In the order of last_slot, so that the one to drop is found at the front.
        self._sessions: dict[int, _Session] = {
            id_: _Session(id_, last_slot, highest, floor, _unpack(puts))
            for id_, last_slot, highest, floor, puts in connection.execute(_SELECT_SESSIONS)
        }
        for id_, sequence, answer_weight in connection.execute(_SELECT_WEIGHTS):
            session = self._sessions[id_]
            session.weighty.append((sequence, answer_weight))
            session.weight += answer_weight
        self._changed: dict[int, _Session] = {}
        self._dropped: list[int] = []
        # Encoded at once: whoever gets the result may go on to fill in a header that is true on one node only.
        self._answers: dict[tuple[int, int], tuple[str, int, int, bytes]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, slot: int) -> SessionOpened:
        """A new session; its id was never used before."""
        if len(self._sessions) >= self._limits.sessions_max:
            self._drop(self._longest_unused())
        self.opened += 1
        session = _Session(self.opened, slot)
        self._sessions[session.id] = self._changed[session.id] = session
        self._hash.fact("session opened", session.id)
        return SessionOpened(session.id)

    @property
    def oldest_use(self) -> float:
        """The slot in which the session that was unused for longest was used; infinity where there is none."""
        return next((session.last_slot for session in self._sessions.values()), float("inf"))

    def __contains__(self, session_id: int) -> bool:
        return session_id in self._sessions

    def expire(self, unused_since_slot: int) -> SessionsExpired:
        """Drops the sessions that were last used in a slot below this one."""
        unused = takewhile(lambda session: session.last_slot < unused_since_slot, self._sessions.values())
        expired = sorted(unused, key=lambda session: session.id)
        for session in expired:
            self._drop(session)
        return SessionsExpired(len(expired))

    def recall(self, session_id: int, sequence: int, slot: int, unanswered_from: int) -> Result | None:
        """The first answer if there was one, None if the request is new. Raises if that cannot be told."""
        session = self._sessions.get(session_id)
        if session is None:
            raise SessionExpired(session_id)
        if not 1 <= sequence <= _INTEGER_MAX:
            raise SequenceInvalid(session=session_id, sequence=sequence)
        self._changed[session_id] = session
        if session.last_slot != slot:
            session.last_slot = slot
            self._sessions[session_id] = self._sessions.pop(session_id)
        if unanswered_from > session.floor + 1:
            session.floor = min(unanswered_from, sequence) - 1
        if sequence > session.highest:
            return None
        if sequence <= session.floor:
            raise AnswerForgotten(session=session_id, sequence=sequence, floor=session.floor)
        if (revision := session.puts.get(sequence)) is not None:
            answered = PutResponse()
            answered.header.revision = revision
            return answered
        answer = self._answers.get((session_id, sequence))
        if answer is not None:
            kind, number, _, body = answer
            return decode_answer(kind, number, body)
        row = self._connection.execute(_SELECT_ANSWER, (session_id, sequence)).fetchone()
        return None if row is None else decode_answer(*row)

    def remember(self, session_id: int, sequence: int, result: Result) -> None:
        """Keeps the answer of a request that ``recall`` found new."""
        session = self._sessions.get(session_id)
        if session is None:
            return  # the request itself opened a session, and this one had to make room
        answer_weight = 0
        if type(result) is PutResponse and not result.HasField("prev_kv"):
            session.puts[sequence] = result.header.revision
        else:
            answer_weight = weight(result)
            kind, number, body = encode_answer(result)
            self._answers[session_id, sequence] = (kind, number, answer_weight, body)
        self._hash.answered(session_id, sequence)
        if sequence > session.highest:
            session.highest = sequence
            session.floor = max(session.floor, sequence - self._limits.answers_per_session_max)
        if answer_weight:
            insort(session.weighty, (sequence, answer_weight))
            session.weight += answer_weight
        if session.weighty:
            self._shed(session)

    def _shed(self, session: _Session) -> None:
        """Raises the floor until what lies above it is light enough, or is the newest answer alone."""
        weighty = session.weighty
        while weighty and (
            weighty[0][0] <= session.floor
            or (session.weight > self._limits.answer_bytes_per_session_max and weighty[0][0] < session.highest)
        ):
            sequence, answer_weight = weighty.pop(0)
            session.weight -= answer_weight
            session.floor = max(session.floor, sequence)

    def _longest_unused(self) -> _Session:
        """By (last_slot, id), which is what a restart knows as well. The sessions of one slot are few: a batch has a
        limit."""
        oldest = next(iter(self._sessions.values())).last_slot
        candidates = takewhile(lambda session: session.last_slot == oldest, self._sessions.values())
        return min(candidates, key=lambda session: session.id)

    def _drop(self, session: _Session) -> None:
        del self._sessions[session.id]
        self._changed.pop(session.id, None)
        self._dropped.append(session.id)
        self._hash.fact("session dropped", session.id)

    def flush(self) -> None:
        """Moves this turn's changes into SQLite, leaving exactly the answers above the floors."""
        if not self._changed and not self._dropped:
            return
        execute, executemany = self._connection.execute, self._connection.executemany
        for session_id in self._dropped:
            execute(_DROP_ANSWERS, (session_id,))
            execute(_DROP_SESSION, (session_id,))
        changed = sorted(self._changed.items())
        for _, s in changed:
            s.puts = {sequence: revision for sequence, revision in s.puts.items() if sequence > s.floor}
        executemany(_SET_SESSION, [(id_, s.last_slot, s.highest, s.floor, _pack(s.puts)) for id_, s in changed])
        executemany(_FORGET_ANSWERS, [(id_, s.floor) for id_, s in changed if s.floor])
        executemany(
            _ADD_ANSWER,
            [
                (session_id, sequence, *answer)
                for (session_id, sequence), answer in self._answers.items()
                if (session := self._sessions.get(session_id)) is not None and sequence > session.floor
            ],
        )
        self._changed.clear()
        self._dropped.clear()
        self._answers.clear()


def _pack(puts: dict[int, int]) -> bytes:
    """(sequence, revision) pairs, in the order of their application."""
    return struct.pack(f"<{2 * len(puts)}Q", *(number for pair in puts.items() for number in pair))


def _unpack(packed: bytes) -> dict[int, int]:
    numbers = struct.unpack(f"<{len(packed) // 8}Q", packed)
    return dict(zip(numbers[::2], numbers[1::2], strict=True))
