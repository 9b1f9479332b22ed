"""The durability gate (L2), in code and not in a comment: what must be durable before it leaves waits here.

Records gather into one write per drain. A message that speaks for records is held back until the write that carries the
newest of them is reported persisted. Holding it for *everything* recorded so far, even records that it does not speak
for, is always safe and keeps messages in the order in which they were made.
"""

from collections import deque

from kvstore.paxos.durable import PromiseRecord, Record, Write
from kvstore.paxos.messages import Accepted, Envelope
from kvstore.paxos.types import Ballot, WriteId

__all__ = ["Gate"]


class Gate:
    def __init__(self, *, durable_promise: Ballot) -> None:
        self.durable_promise = durable_promise
        """The highest ballot whose promise is known to be on the disk."""
        self._records: list[Record] = []
        self._next_write_id = WriteId(1)
        self._persisted = WriteId(0)
        self._waiting: deque[tuple[WriteId, Envelope]] = deque()
        self._promises: deque[tuple[WriteId, Ballot]] = deque()

    def record(self, record: Record) -> None:
        """Adds to the write that the next drain takes."""
        self._records.append(record)
        if not isinstance(record, PromiseRecord):
            return
        self._promises.append((self._next_write_id, record.ballot))

    @property
    def horizon(self) -> WriteId:
        """The write that carries the newest record so far."""
        return self._next_write_id if self._records else WriteId(self._next_write_id - 1)

    def is_durable(self, write_id: WriteId) -> bool:
        return write_id <= self._persisted

    def send_when_durable(self, envelope: Envelope) -> Envelope | None:
        """The envelope itself where all that was recorded is durable already; else None, and it waits."""
        horizon = self.horizon
        if self.is_durable(horizon):
            return envelope
        if not self._extend_last_run(horizon, envelope):
            self._waiting.append((horizon, envelope))
        return None

    def take_write(self) -> Write | None:
        if not self._records:
            return None
        write = Write(self._next_write_id, tuple(self._records))
        self._next_write_id = WriteId(self._next_write_id + 1)
        self._records.clear()
        return write

    def persisted(self, write_id: WriteId) -> list[Envelope]:
        """All writes up to ``write_id`` are on the disk: returns the messages that waited for them, in their order."""
        assert write_id < self._next_write_id, f"write {write_id} was reported persisted but never handed out"
        self._persisted = max(self._persisted, write_id)
        while self._promises and self._promises[0][0] <= self._persisted:
            self.durable_promise = max(self.durable_promise, self._promises.popleft()[1])
        released = []
        while self._waiting and self._waiting[0][0] <= self._persisted:
            released.append(self._waiting.popleft()[1])
        return released

    def _extend_last_run(self, horizon: WriteId, envelope: Envelope) -> bool:
        """Merges neighbouring Accepted of one ballot into one run, which never spans a hole."""
        if not self._waiting or not isinstance(envelope.message, Accepted):
            return False
        last_horizon, last = self._waiting[-1]
        run, new = last.message, envelope.message
        if (
            last_horizon != horizon
            or last.to != envelope.to
            or not isinstance(run, Accepted)
            or run.ballot != new.ballot
            or run.end != new.start
        ):
            return False
        self._waiting[-1] = (horizon, Envelope(last.to, Accepted(run.ballot, run.start, new.end)))
        return True
