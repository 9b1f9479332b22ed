"""Exactly once, whatever the network does: the engine against a small model of the servers.

The servers share one session table, as replicas do. A batch that is under way when its stream is lost may still arrive,
late, in any order with the copies that follow it. Whatever happens, a call is applied at most once; one that returned a
result was applied exactly once, with that result; one that ended with any other error than ``UnknownOutcome`` never is.
"""

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kvclient import errors
from kvproto.command_pb2 import Entry
from kvproto.session_pb2 import ClientBatch, Refusal, ServerBatch, WriteAnswer

from tests.client.session.calls import EXPIRED, Driven, put, txn, unavailable

REQUESTS_MAX = 5
OVERLOAD = Refusal(code=8, text="etcdserver: too many requests")


class Servers:
    """What all replicas agree on: sessions, answers, and which key was written how often."""

    def __init__(self) -> None:
        self.revision = 0
        self.opened = 0
        self.sessions: dict[int, dict[int, int]] = {}
        self.floors: dict[int, int] = {}
        self.applied: Counter[bytes] = Counter()
        self.revisions: dict[bytes, int] = {}

    def open(self, session: int) -> int:
        if session:
            return session  # known or not: each request is told
        self.opened += 1
        self.sessions[self.opened] = {}
        self.floors[self.opened] = 0
        return self.opened

    def expire(self, session: int) -> None:
        self.sessions.pop(session, None)

    def apply(self, entry: Entry, unanswered_from: int) -> int | Refusal:
        """The revision, the first time and every time."""
        answers = self.sessions.get(entry.session)
        if answers is None:
            return EXPIRED
        floor = max(self.floors[entry.session], min(unanswered_from, entry.sequence) - 1)
        self.floors[entry.session] = floor
        if entry.sequence <= floor:
            return Refusal(code=9, text="kvstore: the answer was forgotten", unknown=True)
        if entry.sequence not in answers:
            key = entry.put.key if entry.HasField("put") else entry.txn.success[0].request_put.key
            self.revision += 1
            self.applied[key] += 1
            self.revisions[key] = answers[entry.sequence] = self.revision
        return answers[entry.sequence]


class Stream:
    def __init__(self) -> None:
        self.answers: list[WriteAnswer] = []
        self.unanswered = 0


class ExactlyOnce(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.driven = Driven()
        self.servers = Servers()
        self.stream: Stream | None = None
        self.under_way: list[tuple[Stream, ClientBatch]] = []
        self.calls = {}
        self.abandoned = set()

    @rule(deadline=st.sampled_from([1000.0, 1000.0, 3.0]), plain=st.booleans())
    def submit(self, deadline, plain):
        key = f"k{len(self.calls)}"
        call = (put if plain else txn)(key, deadline=deadline)
        self.driven.submit(call)
        self.calls[key.encode()] = call

    @rule(data=st.data())
    @precondition(lambda self: self.calls)
    def abandon(self, data):
        call = data.draw(st.sampled_from(list(self.calls.values())))
        if not call.handle.all:
            self.driven.engine.abandon(call)
            self.abandoned.add(next(key for key, known in self.calls.items() if known is call))

    @rule(seconds=st.sampled_from([0.3] * 6 + [1.0, 400.0]))
    def wait(self, seconds):
        self.driven.wait(seconds)

    @precondition(lambda self: self.stream is None)
    @rule()
    def connect(self):
        session = self.servers.open(self.driven.engine.open_request(self.driven.now).open.session)
        self.driven.open(session, requests_max=REQUESTS_MAX)
        self.stream = Stream()

    @precondition(lambda self: self.stream is not None)
    @rule()
    def lose(self):
        self.driven.lose()
        self.stream = None

    @precondition(lambda self: self.stream is not None)
    @rule(arrives=st.booleans())
    def break_under_way(self, arrives):
        """A batch is sent, and the stream lost before its answer comes, or before it arrives; the next one is open."""
        before = len(self.under_way)
        self.send()
        if arrives and len(self.under_way) > before:
            _, batch = self.under_way.pop()
            list(self.answers(batch, 0, OVERLOAD))
        self.lose()
        self.connect()

    @precondition(lambda self: self.stream is not None)
    @rule()
    def move(self):
        self.driven.engine.hold(self.driven.now)
        if self.driven.engine.is_drained(self.driven.now):
            self.driven.lose(None)
            self.stream = None
            self.connect()
        else:
            self.driven.engine.release()

    @precondition(lambda self: self.stream is not None)
    @rule()
    def send(self):
        batch = self.driven.take()
        if batch is None:
            return
        self.under_way.append((self.stream, batch))
        self.stream.unanswered += len(batch.entries)
        assert self.stream.unanswered <= REQUESTS_MAX
        sequences = [entry.sequence for entry in batch.entries]
        assert len(set(sequences)) == len(sequences)
        assert max(sequences) < batch.unanswered_from + REQUESTS_MAX
        assert min(sequences) >= batch.unanswered_from

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), refused=st.sampled_from([0, 0, 0, 1, 3]), overload=st.booleans())
    def arrive(self, data, refused, overload):
        """A batch arrives whole; the first of it may be refused, for want of a leader or of room."""
        position = data.draw(st.integers(0, len(self.under_way) - 1))
        stream, batch = self.under_way.pop(position)
        stream.answers.extend(self.answers(batch, refused, OVERLOAD if overload else unavailable()))

    def answers(self, batch, refused, refusal):
        for number, entry in enumerate(batch.entries):
            answer = WriteAnswer(sequence=entry.sequence)
            outcome = refusal if number < refused else self.servers.apply(entry, batch.unanswered_from)
            if isinstance(outcome, Refusal):
                answer.refusal.CopyFrom(outcome)
            elif entry.HasField("put"):
                answer.put.header.revision = outcome
            else:
                answer.txn.header.revision = outcome
            yield answer

    @precondition(lambda self: self.stream is not None and self.stream.answers)
    @rule(data=st.data())
    def answer(self, data):
        self.hand_over(data.draw(st.integers(1, len(self.stream.answers))))

    def hand_over(self, count):
        answers = self.stream.answers
        batch = ServerBatch()
        for answer in answers[:count]:
            if answer.HasField("put"):
                batch.put_sequences.append(answer.sequence)
                batch.put_revisions.append(answer.put.header.revision)
            else:
                batch.writes.append(answer)
        del answers[:count]
        self.stream.unanswered -= count
        self.driven.receive(batch)

    @precondition(lambda self: self.servers.sessions)
    @rule(data=st.data())
    def expire(self, data):
        self.servers.expire(data.draw(st.sampled_from(list(self.servers.sessions))))

    @rule()
    def leave_if_so_decided(self):
        if self.driven.engine.leave(self.driven.now) is not None:
            self.driven.lose(None)
            self.stream = None

    @invariant()
    def at_most_once_and_as_was_said(self):
        for key, count in self.servers.applied.items():
            assert count == 1, key
        for key, call in self.calls.items():
            for outcome in call.handle.all:
                self.check(key, outcome)

    def check(self, key, outcome):
        match outcome:
            case errors.UnknownOutcome():
                pass
            case errors.KvError():
                assert key not in self.servers.applied, outcome
            case _:
                assert self.servers.revisions[key] == outcome.revision

    def teardown(self):
        """Whatever is under way arrives at last; then a quiet time, in which everything ends."""
        while self.under_way:
            _, batch = self.under_way.pop(0)
            for entry in batch.entries:
                self.servers.apply(entry, batch.unanswered_from)
        self.at_most_once_and_as_was_said()
        if self.stream is not None:
            self.lose()
        for _ in range(100):
            self.leave_if_so_decided()
            if self.stream is None:
                self.connect()
            self.send()
            while self.under_way:
                stream, batch = self.under_way.pop()
                stream.answers.extend(self.answers(batch, 0, OVERLOAD))
            if self.stream.answers:
                self.hand_over(len(self.stream.answers))
            self.driven.wait(0.001)
        self.at_most_once_and_as_was_said()
        for key, call in self.calls.items():
            assert len(call.handle.all) == (key not in self.abandoned), "every call ends, once"


ExactlyOnce.TestCase.settings = settings(
    max_examples=250, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestExactlyOnce = ExactlyOnce.TestCase


def test_a_plain_story_of_the_model():
    """The model itself: applied once, answered twice; forgotten below the floor; nothing in an unknown session."""
    servers = Servers()
    session = servers.open(0)
    entry = Entry(session=session, sequence=1)
    entry.put.key = b"a"
    assert (servers.apply(entry, 1), servers.apply(entry, 1)) == (1, 1)
    later = Entry(session=session, sequence=2)
    later.put.key = b"b"
    assert servers.apply(later, 2) == 2
    assert servers.apply(entry, 1).unknown
    servers.expire(session)
    assert servers.apply(later, 2).session_expired
    assert servers.applied == {b"a": 1, b"b": 1}
