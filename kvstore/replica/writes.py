"""Writes on their way into the log, from the node that received them to its own apply.

Every write belongs to a session and has a sequence in it, so the state machine applies it once however often it is
proposed (L12). That makes this room simple: what was proposed or forwarded and stays unanswered is sent again, whenever
the leader changes, the link to it comes back, it says that it proposed nothing, or a forward was out for too long.

A node answers its clients when it applies their entries itself, wherever they were proposed: an answer survives a
change of leader, and a client always reads its own writes on the node that it wrote to.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kvproto.command_pb2 import CommandBatch, Entry, OpenSession

from kvstore.mvcc.results import Refusal, Result, SessionOpened
from kvstore.paxos.types import NodeId

__all__ = ["Forwarded", "Overloaded", "Proposal", "Writes"]


_GIVEN_UP_MAX = 1024


class Overloaded(Exception):
    """As many writes, or reads, wait here as may; nothing was kept of this one."""


@dataclass(slots=True)
class _Attached:
    """A session whose requests come in through this node.

    ``pending`` has what somebody waits for, by sequence; those up to ``sent_end`` may have been proposed, those in
    ``resent`` more than once.
    """

    pending: dict[int, Entry] = field(default_factory=dict)
    sent_end: int = 0
    resent: set[int] = field(default_factory=set)
    answers: list[tuple[int, Result]] = field(default_factory=list)


class _Forward(NamedTuple):
    entries: list[Entry]
    resend_at: float


class Forwarded(NamedTuple):
    """What a follower asks this leader to propose."""

    sender: NodeId
    number: int
    batch: CommandBatch


@dataclass(slots=True)
class Proposal:
    """A slot's worth. ``own`` are the entries of this node's clients, ``foreign`` tells whether there are others."""

    batch: CommandBatch
    own: list[Entry]
    foreign: bool


class Writes:
    """``pending_max`` bounds the entries of this node's clients, and apart from them those that others forwarded."""

    def __init__(
        self,
        node_id: NodeId,
        incarnation: int,
        *,
        pending_max: int,
        entries_max: int,
        bytes_max: int,
        resend_s: float,
    ) -> None:
        self._me = node_id
        self._incarnation = incarnation
        self._pending_max = pending_max
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._resend_s = resend_s
        self._next_batch = 1
        self._next_forward = (incarnation << 32) + 1
        self._next_opening = 1
        self._attached: dict[int, _Attached] = {}
        self._answered: dict[int, _Attached] = {}
        self._openings: dict[int, Entry] = {}
        self._opened: list[tuple[int, int]] = []
        self._pending_count = 0
        self._waiting: deque[list[Entry]] = deque()
        self._waiting_count = 0
        self._forwards: dict[int, _Forward] = {}
        self._received: deque[Forwarded] = deque()
        self._received_count = 0

    # In

    def attach(self, session: int) -> None:
        """From now on this node answers the session's requests that it is given."""
        self._attached.setdefault(session, _Attached())

    def detach(self, session: int) -> None:
        """Nobody waits here for answers of this session any more; what was sent may be applied all the same."""
        self._answered.pop(session, None)
        attached = self._attached.pop(session, None)
        if attached is not None:
            self._pending_count -= len(attached.pending)
            self._drop_given_up()

    def open_session(self) -> int:
        """Asks the log for a new session; ``take_opened`` will have it under the number that this returns."""
        number = self._next_opening
        self._next_opening += 1
        asked = OpenSession(node_id=self._me, incarnation=self._incarnation, number=number)
        self._openings[number] = entry = Entry(open_session=asked)
        self.propose(entry)
        return number

    def propose(self, entry: Entry) -> None:
        """An entry of no session, for which nobody waits: it may be lost, and it may be applied twice."""
        self._wait([entry])

    def submit(self, session: int, entries: Sequence[Entry]) -> None:
        """Takes requests of an attached session, in the order of their sequences. Raises Overloaded."""
        if len(entries) > self.room:
            raise Overloaded
        pending = self._attached[session].pending
        before = len(pending)
        pending.update((entry.sequence, entry) for entry in entries)
        self._pending_count += len(pending) - before
        self._wait(list(entries))

    def forget(self, session: int, sequence: int) -> bool:
        """Nobody waits for this request any more. True where it was certainly not proposed, and never will be."""
        attached = self._attached.get(session)
        if attached is None or attached.pending.pop(sequence, None) is None:
            return False
        self._pending_count -= 1
        attached.resent.discard(sequence)
        self._drop_given_up()
        return sequence > attached.sent_end

    def receive(self, forwarded: Forwarded) -> bool:
        """Takes what a follower forwarded to this leader; False where too much waits already.

        Something that waits alone is taken however large it is: it would be refused for ever.
        """
        count = len(forwarded.batch.entries)
        if self._received_count and self._received_count + count > self._pending_max:
            return False
        self._received.append(forwarded)
        self._received_count += count
        return True

    # On the way

    @property
    def waiting_count(self) -> int:
        """Entries that wait to be proposed or forwarded."""
        return self._waiting_count + self._received_count

    @property
    def sent_count(self) -> int:
        """Entries of this node's clients that were sent and are not answered, roughly."""
        return max(0, self._pending_count - self._waiting_count)

    @property
    def room(self) -> int:
        """How many more entries ``submit`` takes now."""
        return max(0, self._pending_max - self._pending_count)

    @property
    def pending_count(self) -> int:
        """Entries of this node's clients that somebody waits for."""
        return self._pending_count

    def lowest_pending(self, session: int, *, otherwise: int) -> int:
        """The lowest sequence of an attached session that is not answered."""
        return next(iter(self._attached[session].pending), otherwise)

    def take_batch(self) -> Proposal | None:
        """What to propose in the next slot: forwarded entries and own ones, each in the order they came.

        Within both limits, but at least one entry or one forward, which stays whole. Own and forwarded ones take turns
        in going first, so that neither waits for the other to run dry.
        """
        batch = CommandBatch()
        own: list[Entry] = []
        foreign = 0
        forwarded_first = self._next_batch % 2 == 1
        for forwarded in (forwarded_first, not forwarded_first):
            count = len(batch.entries)
            entries_max, bytes_max = self._entries_max - count, self._bytes_max - batch.ByteSize()
            if forwarded:
                for one in self._take_received(entries_max, bytes_max, force=not count):
                    batch.entries.extend(one.batch.entries)
                    foreign += 1
            else:
                own = self._take_waiting(entries_max, bytes_max, force=not count)
                batch.entries.extend(own)
        if not batch.entries:
            return None
        batch.origin.node_id = self._me
        batch.origin.incarnation = self._incarnation
        batch.origin.number = self._next_batch
        self._next_batch += 1
        return Proposal(batch, own, foreign > 0)

    def take_forwards(self, now: float) -> Iterator[tuple[int, CommandBatch]]:
        """Everything that waits here, numbered, in messages of bounded size."""
        while own := self._take_waiting(self._entries_max, self._bytes_max, force=True):
            number = self._next_forward
            self._next_forward += 1
            self._forwards[number] = _Forward(own, now + self._resend_s)
            batch = CommandBatch()
            batch.entries.extend(own)
            yield number, batch

    def take_received(self) -> list[Forwarded]:
        """What others forwarded and this node, no longer leading, will not propose."""
        received = list(self._received)
        self._received.clear()
        self._received_count = 0
        return received

    # Again

    def refused(self, number: int) -> None:
        """The leader says that it proposed nothing of this forward."""
        forward = self._forwards.pop(number, None)
        if forward is not None:
            self._again([forward.entries])

    def resend(self, proposed: Iterable[Proposal]) -> None:
        """Whoever had the entries may have lost them: all that is unanswered waits again."""
        sent = [proposal.own for proposal in proposed]
        sent += [forward.entries for forward in self._forwards.values()]
        self._forwards.clear()
        self._again(sent)
        for own in sent:
            own.clear()  # what waits again is nobody else's to send

    def resend_overdue(self, now: float) -> None:
        """Forwards that stayed unanswered for too long wait again. What this node itself proposed is not lost so."""
        while self._forwards:
            number, forward = next(iter(self._forwards.items()))
            if forward.resend_at > now:
                return
            self.refused(number)

    def next_resend(self) -> float | None:
        return next((forward.resend_at for forward in self._forwards.values()), None)

    # Out

    def settle(self, batch: CommandBatch, results: Sequence[Result]) -> None:
        """The batch was applied here: gathers the answers that somebody waits for."""
        if not self._pending_count and not self._openings:
            return
        attached_sessions = self._attached
        for entry, result in zip(batch.entries, results, strict=True):
            attached = attached_sessions.get(entry.session)
            if attached is None:
                if type(result) is SessionOpened:
                    self._settle_opening(entry.open_session, result)
                continue
            sequence = entry.sequence
            if attached.pending.pop(sequence, None) is not None:
                self._pending_count -= 1
                if attached.resent and sequence in attached.resent:
                    attached.resent.discard(sequence)
                    if isinstance(result, Refusal) and result.session_expired:
                        result = replace(result, fate_unknown=True)  # noqa: PLW2901
                attached.answers.append((sequence, result))
                self._answered[entry.session] = attached

    def take_answers(self) -> Iterator[tuple[int, list[tuple[int, Result]]]]:
        """(session, its answers as (sequence, result)) since the last call."""
        for session, attached in self._answered.items():
            answers, attached.answers = attached.answers, []
            yield session, answers
        self._answered.clear()
        if not self._pending_count and not self._openings:
            self._forwards.clear()

    def take_opened(self) -> list[tuple[int, int]]:
        """(number, session) since the last call."""
        opened, self._opened = self._opened, []
        return opened

    # Helpers

    def _wait(self, entries: list[Entry]) -> None:
        self._waiting.append(entries)
        self._waiting_count += len(entries)

    def _drop_given_up(self) -> None:
        """Clients that try again and again while nobody leads leave nothing behind."""
        if self._waiting_count <= 2 * self._pending_count + _GIVEN_UP_MAX:
            return
        kept = ([entry for entry in chunk if self._is_pending(entry)] for chunk in self._waiting)
        self._waiting = deque(chunk for chunk in kept if chunk)
        self._waiting_count = sum(map(len, self._waiting))

    def _take_received(self, entries_max: int, bytes_max: int, *, force: bool) -> list[Forwarded]:
        """Whole forwards from the head of the queue, within both limits; ``force``: at least one."""
        taken: list[Forwarded] = []
        count = size = 0
        while self._received:
            forwarded = self._received[0]
            count += len(forwarded.batch.entries)
            size += forwarded.batch.ByteSize()
            if (count > entries_max or size > bytes_max) and (taken or not force):
                break
            taken.append(self._received.popleft())
            self._received_count -= len(forwarded.batch.entries)
        return taken

    def _take_waiting(self, entries_max: int, bytes_max: int, *, force: bool) -> list[Entry]:
        """From the head of the queue, within both limits; ``force``: at least one. Those given up are left out."""
        taken: list[Entry] = []
        size = 0
        while self._waiting:
            chunk = self._waiting.popleft()
            self._waiting_count -= len(chunk)
            for index, entry in enumerate(chunk):
                attached = self._attached.get(entry.session) if entry.session else None
                if entry.session and (attached is None or entry.sequence not in attached.pending):
                    continue
                if not entry.session and entry.HasField("open_session") and not self._is_pending(entry):
                    continue  # opened meanwhile: once more would be a session that nobody uses
                size += entry.ByteSize()
                if len(taken) >= entries_max or (size > bytes_max and (taken or not force)):
                    self._waiting.appendleft(chunk[index:])
                    self._waiting_count += len(chunk) - index
                    return taken
                if attached is not None:
                    attached.sent_end = max(attached.sent_end, entry.sequence)
                taken.append(entry)
        return taken

    def _again(self, sent: Sequence[list[Entry]]) -> None:
        for entries in reversed(sent):
            pending = [entry for entry in entries if self._is_pending(entry)]
            for entry in pending:
                if entry.session:
                    self._attached[entry.session].resent.add(entry.sequence)
            if pending:
                self._waiting.appendleft(pending)
                self._waiting_count += len(pending)

    def _is_pending(self, entry: Entry) -> bool:
        if not entry.session:
            return entry.open_session.number in self._openings
        attached = self._attached.get(entry.session)
        return attached is not None and entry.sequence in attached.pending

    def _settle_opening(self, asked: OpenSession, opened: SessionOpened) -> None:
        is_ours = asked.node_id == self._me and asked.incarnation == self._incarnation
        if is_ours and self._openings.pop(asked.number, None) is not None:
            self._opened.append((asked.number, opened.session))
