"""Calls for the engine, and what it says of them: nobody waits, so the handle is a list of outcomes."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from kvclient import calls
from kvclient.decisions import Failure
from kvclient.errors import Code
from kvclient.keys import one
from kvclient.session.engine import Engine
from kvclient.session.pending import Pending
from kvclient.transaction import Compare, Put, TransactionParts
from kvproto.session_pb2 import ClientBatch, Opened, Refusal, ServerBatch

SILENCE_S = 1.0
LOST = Failure(Code.UNAVAILABLE, "Socket closed", "a:1")
NO_LEADER = "etcdserver: no leader"


@dataclass
class Outcomes:
    """What the engine said of one call."""

    all: list[Any] = field(default_factory=list)

    @property
    def one(self) -> Any:
        """The only one."""
        assert len(self.all) == 1, self.all
        return self.all[0]


def put(key: str = "k", value: str = "v", *, deadline: float = 100.0) -> Pending:
    return Pending.put(key.encode(), value.encode(), deadline=deadline, handle=Outcomes())


def get(key: str = "k", *, deadline: float = 100.0) -> Pending:
    return Pending.get(key.encode(), deadline=deadline, handle=Outcomes())


def delete(key: str = "k", *, deadline: float = 100.0) -> Pending:
    return Pending.of(calls.delete(one(key)), deadline=deadline, handle=Outcomes())


def txn(key: str = "k", *, deadline: float = 100.0) -> Pending:
    parts = TransactionParts().when(Compare.exists(key)).then(Put(key, "new"))
    return Pending.of(calls.transaction(parts), deadline=deadline, handle=Outcomes())


class Driven:
    """An engine, a clock, and short words for what a stream does."""

    def __init__(self, *, alone: bool = False) -> None:
        self.engine = Engine(endpoint="a:1", silence_s=SILENCE_S, alone=alone, rng=Random(1))
        self.now = 1000.0

    def submit(self, *pending: Pending) -> None:
        for call in pending:
            call.deadline += self.now
            self.engine.submit(call)

    def open(self, session: int = 7, *, requests_max: int = 100, bytes_max: int = 1 << 20) -> int:
        """A stream is opened; returns the session that the client asked for."""
        asked = self.engine.open_request(self.now)
        assert (asked.HasField("open"), len(asked.entries), len(asked.reads)) == (True, 0, 0)
        opened = Opened(session=session, requests_max=requests_max, bytes_max=bytes_max)
        self.engine.opened(opened, endpoint="a:1", now=self.now)
        self.settle()
        return asked.open.session

    def take(self) -> ClientBatch | None:
        return self.engine.take_batch(self.now)

    def sent(self) -> list[int]:
        """The sequences in the next batch, which is there and is all writes."""
        batch = self.take()
        assert batch is not None
        assert not batch.reads
        return [entry.sequence for entry in batch.entries]

    def receive(self, batch: ServerBatch) -> None:
        self.engine.received(batch, self.now)
        self.settle()

    def answer_puts(self, **revisions: int) -> None:
        """``_1=5``: the put with sequence 1 made revision 5."""
        self.receive(ServerBatch(put_sequences=[int(name[1:]) for name in revisions], put_revisions=revisions.values()))

    def refuse(self, sequence: int, refusal: Refusal) -> None:
        batch = ServerBatch()
        batch.writes.add(sequence=sequence).refusal.CopyFrom(refusal)
        self.receive(batch)

    def lose(self, failure: Failure | None = LOST) -> None:
        self.engine.lost(failure, self.now)
        self.settle()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.engine.tick(self.now)
        self.settle()

    def settle(self) -> None:
        for call, outcome in (*self.engine.take_done(), *self.engine.take_failed()):
            call.handle.all.append(outcome)


def unavailable(text: str = NO_LEADER, *, unknown: bool = False) -> Refusal:
    return Refusal(code=14, text=text, unknown=unknown)


EXPIRED = Refusal(code=5, text="kvstore: session expired", session_expired=True, unknown=True)
