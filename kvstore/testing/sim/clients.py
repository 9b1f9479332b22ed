"""Clients: each does one thing after the other, through any node, retries, and gives up.

A client is a script, a generator that yields what it waits for (a pause, or an attempt at some node) and is sent what
came of it. What it asks for and is told goes into a history for the checkers. Three kinds of writers:

- without a session: an attempt whose fate is unknown ends the operation; only what was certainly not applied is tried
  again;
- with a session: whatever happens, the same (session, sequence) is tried again, at another node, until there is an
  answer or patience ends; now and then an answered one is sent once more (L12);
- and those that read, linearizably or not.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from kvproto.command_pb2 import Entry, OpenSession
from kvproto.etcd.rpc_pb2 import RangeRequest, RangeResponse

from kvstore.mvcc.results import Refusal, SessionOpened
from kvstore.paxos.types import NodeId
from kvstore.testing.checking.history import Failed, Outcome, Recorder, Unknown
from kvstore.testing.checking.model import (
    Action,
    CompareAndSwap,
    Delete,
    Put,
    Range,
    Response,
    Write,
    prefix_end,
)
from kvstore.testing.sim.actions import entry_of, range_request, range_response, response_of
from kvstore.testing.sim.calls import Call, Reply
from kvstore.testing.sim.events import ClientCalled, ClientReturned, Consistency
from kvstore.testing.sim.scheduler import Scheduler
from kvstore.testing.sim.trace import Trace

__all__ = ["Attempt", "Client", "ClientLink", "Pause", "Script", "SerializableRead", "outcome_of", "probe", "worker"]

PREFIX: Final = b"k/"
_TRIES_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """``action`` None opens a session. Raises nothing: the script is sent a ``Reply``."""

    node: NodeId
    action: Action | None
    timeout_s: float
    session: int = 0
    sequence: int = 0
    consistency: Consistency = Consistency.LINEARIZABLE
    looks_back: bool = True
    """Whether a put asks what was there before it."""


Script = Generator[Pause | Attempt, Reply | None, None]


@dataclass(frozen=True, slots=True)
class SerializableRead:
    """May be stale, but is the whole truth at its revision."""

    node: NodeId
    action: Range
    response: Response


class ClientLink:
    """Between clients and nodes: a delay, and requests and answers that are lost."""

    def __init__(self, scheduler: Scheduler, rng: Random, *, latency_s: float) -> None:
        self._scheduler = scheduler
        self._rng = rng
        self._latency_s = latency_s
        self.loss: dict[int, float] = {}
        """Faults at work, and how much each loses."""

    def carry(self, what: Callable[[], None]) -> None:
        if any(self._rng.random() < loss for loss in self.loss.values()):
            return
        self._scheduler.after(self._latency_s * (0.5 + self._rng.random()), what)


@dataclass(slots=True)
class Client:
    """``done`` once its script has ended. ``stopping`` asks the script to begin nothing new."""

    name: str
    nodes: Sequence[NodeId]
    rng: Random
    scheduler: Scheduler
    trace: Trace
    recorder: Recorder
    link: ClientLink
    next_call: Callable[[], int]
    deliver: Callable[[Call], None]
    cancel: Callable[[Call], None]
    serializable: list[SerializableRead]
    stopping: bool = False
    done: bool = False
    answered: int = 0
    """Operations that got a response."""
    _script: Script | None = None
    _call: Call | None = None

    def run(self, script: Script) -> None:
        self._script = script
        self._advance(None)

    def begin(self, action: Action, *, session: int = 0, sequence: int = 0) -> int:
        return self.recorder.invoked(self.name, action, at=self.scheduler.now, session=session, sequence=sequence)

    def end(self, operation: int, outcome: Outcome) -> None:
        self.answered += isinstance(outcome, Response)
        self.recorder.returned(operation, outcome, at=self.scheduler.now)

    def _advance(self, reply: Reply | None) -> None:
        assert self._script is not None
        try:
            wanted = self._script.send(reply)
        except StopIteration:
            self.done = True
            return
        if isinstance(wanted, Pause):
            self.scheduler.after(wanted.seconds, lambda: self._advance(None))
        else:
            self._attempt(wanted)

    def _attempt(self, attempt: Attempt) -> None:
        call = Call(
            self.next_call(),
            self.name,
            attempt.node,
            _request(attempt),
            lambda reply: self.link.carry(lambda: self._on_reply(call, attempt, reply)),
        )
        self._call = call
        self.trace.emit(
            ClientCalled(
                self.scheduler.now,
                self.name,
                call.number,
                attempt.node,
                attempt.action,
                attempt.consistency,
                attempt.session,
                attempt.sequence,
            )
        )
        self.link.carry(lambda: self.deliver(call))
        self.scheduler.after(attempt.timeout_s, lambda: self._on_timeout(call, attempt))

    def _on_reply(self, call: Call, attempt: Attempt, reply: Reply) -> None:
        if self._call is not call:
            return
        self._call = None
        outcome = (
            reply if isinstance(reply, SessionOpened | Refusal) else outcome_of(reply, looks_back=attempt.looks_back)
        )
        self.trace.emit(ClientReturned(self.scheduler.now, self.name, call.number, attempt.node, outcome))
        self._advance(reply)

    def _on_timeout(self, call: Call, attempt: Attempt) -> None:
        if self._call is not call:
            return
        self.link.carry(lambda: self.cancel(call))
        self._on_reply(call, attempt, Unknown("timed out"))


def worker(client: Client, *, sessions: bool, keys: int, think_s: float, timeout_s: float) -> Script:
    """Does what clients do until it is told to stop."""
    return _Worker(client, sessions=sessions, keys=keys, think_s=think_s, timeout_s=timeout_s).script()


def probe(client: Client, node: NodeId, *, timeout_s: float) -> Script:
    """One write through ``node``, again and again until it is answered."""
    number = 0
    while True:
        number += 1
        action = Put(PREFIX + b"probe", f"{client.name}.{number}".encode())
        operation = client.begin(action)
        attempt = Attempt(node, action, timeout_s)
        reply = yield attempt
        response = _response(reply, attempt)
        if response is not None:
            client.end(operation, response)
            return
        client.end(operation, reply if isinstance(reply, Failed) else Unknown(str(reply)))
        yield Pause(timeout_s / 10)


class _Worker:
    def __init__(self, client: Client, *, sessions: bool, keys: int, think_s: float, timeout_s: float) -> None:
        self._client = client
        self._rng = client.rng
        self._sessions = sessions
        self._keys = keys
        self._think_s = think_s
        self._timeout_s = timeout_s
        self._node = self._rng.choice(client.nodes)
        self._session = 0
        self._sequence = 0
        self._values = 0
        self._seen: dict[bytes, Response] = {}
        """The last that was read of a key: what a compare-and-swap compares with."""

    def script(self) -> Script:
        while True:
            yield Pause(self._rng.expovariate(1.0 / self._think_s))
            if self._client.stopping:
                return
            if self._sessions and not self._session:
                reply = yield Attempt(self._node, None, self._timeout_s)
                if isinstance(reply, SessionOpened):
                    self._session, self._sequence = reply.session, 0
                else:
                    self._go_elsewhere()
                continue
            action = self._choose()
            if isinstance(action, Range):
                yield from self._read(action)
            elif self._session:
                yield from self._write_in_session(action)
            else:
                yield from self._write(action)
            if self._rng.random() < 0.1:
                self._go_elsewhere()

    # What to do

    def _choose(self) -> Action:
        rng = self._rng
        key = PREFIX + b"%d" % rng.randrange(self._keys)
        dice = rng.random()
        if dice < 0.35:
            return Put(key, self._value())
        if dice < 0.60:
            return Range(key)
        if dice < 0.66:
            return Range(PREFIX, prefix_end(PREFIX), limit=rng.choice((0, 0, 2)))
        if dice < 0.74:
            return Delete(key)
        if dice < 0.76:
            return Delete(PREFIX, prefix_end(PREFIX))
        return self._compare_and_swap(key)

    def _compare_and_swap(self, key: bytes) -> CompareAndSwap:
        """Against what was seen last, which often still holds."""
        value = None if self._rng.random() < 0.1 else self._value()
        seen = self._seen.get(key)
        entry = seen.entries[0] if seen is not None and seen.entries else None
        compare = self._rng.choice(("mod_revision", "version", "value"))
        if entry is None:
            return CompareAndSwap(key, "create_revision", 0, value)
        return CompareAndSwap(key, compare, getattr(entry, compare), value)  # type: ignore[arg-type]

    def _value(self) -> bytes:
        self._values += 1
        return f"{self._client.name}.{self._values}".encode()

    def _go_elsewhere(self) -> None:
        self._node = self._rng.choice(self._client.nodes)

    # How

    def _read(self, action: Range) -> Script:
        serializable = self._rng.random() < 0.2
        for _ in range(_TRIES_MAX):
            operation = None if serializable else self._client.begin(action)
            consistency = Consistency.SERIALIZABLE if serializable else Consistency.LINEARIZABLE
            reply = yield Attempt(self._node, action, self._timeout_s, consistency=consistency)
            if isinstance(reply, RangeResponse):
                response = range_response(reply)
                if operation is None:
                    self._client.serializable.append(SerializableRead(self._node, action, response))
                else:
                    self._client.end(operation, response)
                if not action.range_end:
                    self._seen[action.key] = response
                return
            if operation is not None:
                self._client.end(operation, reply if isinstance(reply, Failed) else Unknown(str(reply)))
            self._go_elsewhere()
            if self._client.stopping or self._rng.random() < 0.3:
                return
            yield Pause(self._rng.uniform(0.1, 0.5) * self._timeout_s)

    def _write(self, action: Write) -> Script:
        operation = self._client.begin(action)
        for _ in range(_TRIES_MAX):
            attempt = self._write_attempt(action)
            reply = yield attempt
            response = _response(reply, attempt)
            if response is not None:
                self._client.end(operation, response)
                return
            self._go_elsewhere()
            if not isinstance(reply, Failed):
                self._client.end(operation, Unknown(str(reply)))
                return
            yield Pause(self._rng.uniform(0.1, 0.5) * self._timeout_s)
        self._client.end(operation, Failed("never taken"))

    def _write_in_session(self, action: Write) -> Script:
        self._sequence += 1
        session, sequence = self._session, self._sequence
        certainly_not = True
        operation = self._client.begin(action, session=session, sequence=sequence)
        for _ in range(_TRIES_MAX):
            attempt = self._write_attempt(action, session, sequence)
            reply = yield attempt
            response = _response(reply, attempt)
            if response is not None:
                self._client.end(operation, response)
                if self._rng.random() < 0.1:
                    yield from self._repeat(action, session, sequence)
                return
            self._go_elsewhere()
            certainly_not = certainly_not and isinstance(reply, Failed)
            if isinstance(reply, Refusal):
                self._client.end(operation, Unknown(reply.text))
                self._session = 0
                return
            yield Pause(self._rng.uniform(0.1, 0.5) * self._timeout_s)
        self._client.end(operation, Failed("never taken") if certainly_not else Unknown("out of patience"))

    def _repeat(self, action: Write, session: int, sequence: int) -> Script:
        """Sends an answered request once more: the answer must be the same."""
        self._go_elsewhere()
        operation = self._client.begin(action, session=session, sequence=sequence)
        attempt = self._write_attempt(action, session, sequence)
        reply = yield attempt
        self._client.end(operation, _response(reply, attempt) or Unknown(str(reply)))

    def _write_attempt(self, action: Write, session: int = 0, sequence: int = 0) -> Attempt:
        """Every second of a client's puts does not look back: a session keeps such answers apart from others."""
        looks_back = not (isinstance(action, Put) and action.value.endswith((b"0", b"2", b"4", b"6", b"8")))
        return Attempt(self._node, action, self._timeout_s, session, sequence, looks_back=looks_back)


def _request(attempt: Attempt) -> Entry | RangeRequest:
    if attempt.action is None:
        return Entry(open_session=OpenSession())
    if isinstance(attempt.action, Range):
        return range_request(attempt.action, serializable=attempt.consistency is Consistency.SERIALIZABLE)
    return entry_of(attempt.action, session=attempt.session, sequence=attempt.sequence, looks_back=attempt.looks_back)


def _response(reply: Reply | None, attempt: Attempt) -> Response | None:
    if reply is None or isinstance(reply, Failed | Unknown | RangeResponse):
        return None
    return response_of(reply, looks_back=attempt.looks_back)


def outcome_of(reply: Reply, *, looks_back: bool = True) -> Outcome:
    """What a reply means for a history."""
    if isinstance(reply, RangeResponse):
        return range_response(reply)
    if isinstance(reply, Failed | Unknown):
        return reply
    return response_of(reply, looks_back=looks_back) or Unknown(str(reply))
