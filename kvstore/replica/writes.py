"""Writes on their way into the log, from the node that received them to its own apply.

A node answers its clients when it applies their entries itself, wherever they were proposed. So an answer survives a
change of leader as long as the slot survives, and a client always reads its own writes on the node that it wrote to.
An entry is sent on again only after a definite "not proposed": by the leader's word, or because another value was
decided in its only slot.
"""

import enum
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from kvproto.command_pb2 import CommandBatch, Entry, Submission

from kvstore.paxos.types import NodeId

__all__ = ["Overloaded", "PendingWrite", "Stage", "Writes"]


_GIVEN_UP_MAX = 1024


class Overloaded(Exception):
    """As many writes, or reads, wait here as may; nothing was kept of this one."""


class Stage(enum.Enum):
    WAITING = "waiting"
    SENT = "sent"


@dataclass(slots=True)
class PendingWrite:
    entry: Entry
    size: int
    stage: Stage


class Writes:
    """``incarnation`` distinguishes this process from earlier ones: tickets are never reused across restarts."""

    def __init__(
        self, node_id: NodeId, incarnation: int, *, pending_max: int, entries_max: int, bytes_max: int
    ) -> None:
        self._me = node_id
        self._incarnation = incarnation
        self._pending_max = pending_max
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._next_ticket = (incarnation << 32) + 1
        self._next_batch = 1
        self._pending: dict[int, PendingWrite] = {}
        self._waiting: deque[int] = deque()
        self._received: deque[Submission] = deque()
        self._received_entries = 0

    # In

    def add(self, entry: Entry) -> int:
        """Takes an entry from a client of this node. Raises Overloaded."""
        if len(self._pending) >= self._pending_max:
            raise Overloaded
        ticket = self._next_ticket
        self._next_ticket += 1
        self._pending[ticket] = PendingWrite(entry, entry.ByteSize(), Stage.WAITING)
        self._waiting.append(ticket)
        return ticket

    def receive(self, submission: Submission) -> bool:
        """Takes what a follower forwarded to this leader; False where too much waits already."""
        if self._received_entries + len(submission.entries) > self._pending_max:
            return False
        self._received.append(submission)
        self._received_entries += len(submission.entries)
        return True

    def forget(self, ticket: int) -> bool:
        """The client gave up. True where the entry had certainly not been proposed."""
        pending = self._pending.pop(ticket, None)
        if len(self._waiting) > 2 * len(self._pending) + _GIVEN_UP_MAX:  # clients that try again while nobody leads
            self._waiting = deque(waiting for waiting in self._waiting if waiting in self._pending)
        return pending is not None and pending.stage is Stage.WAITING

    # On the way

    @property
    def any_waiting(self) -> bool:
        return bool(self._waiting or self._received)

    @property
    def waiting_count(self) -> int:
        """Entries that wait to be proposed or forwarded, those that were given up meanwhile included."""
        return len(self._waiting) + self._received_entries

    @property
    def pending_count(self) -> int:
        return len(self._pending)

    def take_batch(self) -> CommandBatch | None:
        """The next slot's worth of what waits here: forwarded entries and own ones, each in the order they came.

        Within both limits, but at least one entry or one forwarded submission, which stays whole. Own and forwarded
        ones take turns in going first, so that neither waits for the other to run dry.
        """
        batch = CommandBatch()
        forwarded_first = self._next_batch % 2 == 1
        for forwarded in (forwarded_first, not forwarded_first):
            if not (self._received if forwarded else self._waiting):
                continue
            take = self._received_submissions if forwarded else self._own_submissions
            if not batch.submissions:
                batch.submissions.extend(take(self._entries_max, self._bytes_max, force=True))
                continue
            count = sum(len(submission.entries) for submission in batch.submissions)
            batch.submissions.extend(take(self._entries_max - count, self._bytes_max - batch.ByteSize(), force=False))
        if not batch.submissions:
            return None
        batch.origin.node_id = self._me
        batch.origin.incarnation = self._incarnation
        batch.origin.number = self._next_batch
        self._next_batch += 1
        return batch

    def take_submissions(self) -> Iterable[Submission]:
        """Everything that waits here, to be forwarded in messages of bounded size."""
        while self._waiting:
            yield from self._own_submissions(self._entries_max, self._bytes_max, force=True)

    def take_received(self) -> list[Submission]:
        """Forwarded submissions that this node, no longer leading, will not propose."""
        received = list(self._received)
        self._received.clear()
        self._received_entries = 0
        return received

    def _received_submissions(self, entries_max: int, bytes_max: int, *, force: bool) -> list[Submission]:
        """Whole submissions from the head of the queue, within both limits; ``force``: at least one."""
        taken: list[Submission] = []
        count = size = 0
        while self._received:
            submission = self._received[0]
            count += len(submission.entries)
            size += submission.ByteSize()
            if (count > entries_max or size > bytes_max) and (taken or not force):
                break
            taken.append(self._received.popleft())
            self._received_entries -= len(submission.entries)
        return taken

    def _own_submissions(self, entries_max: int, bytes_max: int, *, force: bool) -> list[Submission]:
        """Runs of consecutive tickets from the head of the queue, within both limits; ``force``: at least one entry."""
        runs: list[Submission] = []
        count = size = 0
        while self._waiting and count < entries_max:
            ticket = self._waiting[0]
            pending = self._pending.get(ticket)
            if pending is not None and size + pending.size > bytes_max and (count or not force):
                break
            self._waiting.popleft()
            if pending is None:
                continue  # forgotten meanwhile
            pending.stage = Stage.SENT
            if not runs or runs[-1].first_ticket + len(runs[-1].entries) != ticket:
                runs.append(Submission(node_id=self._me, incarnation=self._incarnation, first_ticket=ticket))
            runs[-1].entries.append(pending.entry)
            count += 1
            size += pending.size
        return runs

    # Out

    def is_own(self, submission: Submission) -> bool:
        return submission.node_id == self._me and submission.incarnation == self._incarnation

    def settle(self, ticket: int) -> bool:
        """The entry was applied here; False where nobody waits for it any more."""
        return self._pending.pop(ticket, None) is not None

    def not_proposed(self, first_ticket: int, count: int) -> None:
        """These entries certainly were not proposed: they wait again, ahead of younger ones."""
        again = [t for t in range(first_ticket, first_ticket + count) if self._is_sent(t)]
        for ticket in again:
            self._pending[ticket].stage = Stage.WAITING
        self._waiting.extendleft(reversed(again))

    def drop(self, first_ticket: int, count: int) -> list[int]:
        """Gives these entries up; returns the tickets somebody waits for."""
        return [t for t in range(first_ticket, first_ticket + count) if self._pending.pop(t, None) is not None]

    def _is_sent(self, ticket: int) -> bool:
        pending = self._pending.get(ticket)
        return pending is not None and pending.stage is Stage.SENT
