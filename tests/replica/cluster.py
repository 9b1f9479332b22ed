"""Whole replicas in one process: each over a memory log and an in-memory store, with a network that a story controls.

A node is assembled and driven as the server does it: what waits comes in, the clock ticks, one turn runs, its steps are
performed in order; a commit is reported before the next turn. Time moves only when it is told to.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import assert_never

from kvproto.command_pb2 import Entry
from kvproto.etcd.rpc_pb2 import PutRequest, RangeRequest

from kvstore.mvcc.limits import Limits
from kvstore.mvcc.results import Result
from kvstore.mvcc.store import Store
from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.core import Paxos
from kvstore.paxos.durable import DurableState, GoverningConfiguration
from kvstore.paxos.effects import LeadershipChanged, Role
from kvstore.paxos.messages import Message
from kvstore.paxos.types import Configuration, NodeId, Slot
from kvstore.replica.messages import ReplicaMessage
from kvstore.replica.replica import Replica, ReplicaConfig
from kvstore.replica.steps import (
    Answer,
    AnswerAll,
    Answered,
    Commit,
    LeadershipStep,
    Outgoing,
    ReadAllowed,
    ReadLog,
    Send,
    SessionAnswers,
    SessionOpenedHere,
    Step,
    Undone,
    WriteFailed,
)
from kvstore.storage.codec import decode_value, encode_value
from kvstore.storage.memory_log import MemoryAcceptorLog, MemoryDisk

__all__ = ["Cluster", "Member", "Wire", "of_session", "put"]

RETRY_S = 0.3


def put(key: str, value: str = "") -> Entry:
    return Entry(put=PutRequest(key=key.encode(), value=value.encode()))


def of_session(session: int, sequence: int, key: str, value: str = "") -> Entry:
    """A put that a client with a session sends."""
    entry = put(key, value)
    entry.session, entry.sequence = session, sequence
    return entry


def encoded(governing: Sequence[GoverningConfiguration]) -> list[tuple[int, bytes]]:
    return [(one.from_slot, encode_value(one.configuration)) for one in governing]


@dataclass(frozen=True, slots=True)
class Wire:
    sender: NodeId
    to: NodeId
    message: Message | ReplicaMessage


@dataclass(slots=True)
class Member:
    """One node: what survives a crash (``disk``, ``connection``), and the process, if it runs.

    Tickets and the like are numbered afresh in each of its ``lives``, and what was told to clients is of the last one.
    """

    node_id: NodeId
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    connection: sqlite3.Connection = field(default_factory=lambda: sqlite3.connect(":memory:"))
    lives: int = 0
    log: MemoryAcceptorLog | None = None
    process: Replica | None = None
    commits: list[Commit] = field(default_factory=list)
    """On the disk, and not reported to the replica yet."""
    results: dict[int, Result] = field(default_factory=dict)
    """Of writes without a session, by ticket."""
    undone: dict[int, Undone] = field(default_factory=dict)
    allowed: dict[int, int] = field(default_factory=dict)
    """Read tickets, and the applied end at which each was allowed."""
    opened: dict[int, int] = field(default_factory=dict)
    """Sessions that were asked for here, by number."""
    answers: dict[tuple[int, int], list[Result]] = field(default_factory=dict)
    """Of requests of attached sessions, by (session, sequence)."""
    leaderships: list[LeadershipChanged] = field(default_factory=list)
    turns: list[list[Step]] = field(default_factory=list)
    """The steps of each turn that had any."""

    @property
    def replica(self) -> Replica:
        assert self.process is not None, f"node {self.node_id} is down"
        return self.process

    @property
    def store(self) -> Store:
        return self.replica.store

    def value(self, key: str) -> str | None:
        """As the local state has it."""
        found = self.store.range(RangeRequest(key=key.encode())).kvs
        return found[0].value.decode() if found else None

    def times_put(self, key: str) -> int:
        """How often the local state has seen a put of ``key``, which is never deleted."""
        found = self.store.range(RangeRequest(key=key.encode())).kvs
        return found[0].version if found else 0


class Cluster:
    def __init__(
        self,
        size: int = 3,
        *,
        seed: int = 0,
        paxos: dict[str, float] | None = None,
        answers_max: int = 64,
        **limits: float,
    ) -> None:
        """``limits`` go to every node's ReplicaConfig, ``paxos`` to its PaxosConfig, ``answers_max`` to its state."""
        self.rng = Random(seed)
        self.now = 0.0
        self.wires: list[Wire] = []
        self.held: list[Wire] = []
        self.holds: Callable[[Wire], bool] = lambda _: False
        """Which messages wait in ``held`` until ``release``."""
        self.cut: set[tuple[NodeId, NodeId]] = set()
        self.stalled: set[NodeId] = set()
        """Nodes whose disks are at work and report nothing."""
        self.sent: list[Wire] = []
        """Every message that ever left a node."""
        self._limits = limits
        self._paxos = paxos or {}
        self._state_limits = Limits(answers_per_session_max=answers_max)
        self.first = Configuration(1, tuple(NodeId(n) for n in range(1, size + 1)))
        self.members = {node_id: Member(node_id) for node_id in self.first.voters}
        for node_id in self.members:
            self.start(node_id)

    def __getitem__(self, node_id: int) -> Member:
        return self.members[NodeId(node_id)]

    # What can happen

    def start(self, node_id: int) -> None:
        """As a node is assembled: from its log and its state."""
        member = self[node_id]
        assert member.process is None
        member.lives += 1
        for told in (member.results, member.undone, member.allowed, member.opened, member.answers):
            told.clear()
        member.log = MemoryAcceptorLog.open(member.disk, node_id=member.node_id, rng=self.rng)
        store = Store(member.connection, self._state_limits)
        if not store.configurations():
            store.begin()
            store.set_configurations(encoded([GoverningConfiguration(Slot(0), self.first)]))
            store.commit()
        governing = []
        for from_slot, value in store.configurations():
            configuration = decode_value(value)
            assert isinstance(configuration, Configuration)
            governing.append(GoverningConfiguration(Slot(from_slot), configuration))
        recovered = member.log.recover(from_slot=Slot(store.applied_end))
        state = DurableState(
            configurations=tuple(governing),
            promised=recovered.promised,
            accepted=recovered.accepted,
            first_slot=recovered.first_slot,
            decided_end=Slot(store.applied_end),
        )
        member.process = Replica(
            ReplicaConfig(
                node_id=member.node_id,
                incarnation=member.log.identity.incarnation,
                retry_s=RETRY_S,
                **self._limits,  # type: ignore[arg-type]
            ),
            Paxos(
                PaxosConfig(node_id=member.node_id, **self._paxos),  # type: ignore[arg-type]
                state,
                rng=Random(self.rng.random()),
                now=self.now,
            ),
            store,
            encode_configurations=encoded,
        )
        for other in self.members.values():
            if other.process is not None and other is not member:
                other.process.link_up(member.node_id)
                member.process.link_up(other.node_id)

    def crash(self, node_id: int, *, state: sqlite3.Connection | None = None) -> None:
        """The process ends. ``state``: an older copy of the store, of which the rest was not durable."""
        member = self[node_id]
        member.process = member.log = None
        member.commits.clear()
        if state is not None:
            member.connection = state
        self.wires = [wire for wire in self.wires if node_id not in (wire.sender, wire.to)]
        for other in self.members.values():
            if other.process is not None:
                other.process.link_lost(member.node_id, self.now)

    def copy_of_state(self, node_id: int) -> sqlite3.Connection:
        copy = sqlite3.connect(":memory:")
        self[node_id].connection.backup(copy)
        return copy

    def isolate(self, node_id: int) -> None:
        for other in self.members:
            if other != node_id:
                self.cut |= {(NodeId(node_id), other), (other, NodeId(node_id))}

    def heal(self) -> None:
        self.cut.clear()

    def release(self) -> None:
        """What was held goes on, in its order; nothing more is held."""
        self.holds = lambda _: False
        self.wires, self.held = self.held + self.wires, []

    def turn(self, node_id: int) -> list[Step]:
        """Commits that ended are reported, the clock ticks, and one turn runs."""
        member = self[node_id]
        replica = member.replica
        if member.node_id not in self.stalled:
            for commit in member.commits:
                replica.persisted(commit.write.write_id, self.now)
            member.commits.clear()
        replica.tick(self.now)
        steps: list[Step] = []
        for step in replica.turn(self.now):
            steps.append(step)
            self._perform(member, step)
        if steps:
            member.turns.append(steps)
        return steps

    def deliver(self) -> bool:
        """The oldest message arrives, or is lost on a cut link or at a node that is down. False: there is none."""
        if not self.wires:
            return False
        wire = self.wires.pop(0)
        if self.holds(wire):
            self.held.append(wire)
        elif (wire.sender, wire.to) not in self.cut and self.members[wire.to].process is not None:
            self.members[wire.to].replica.receive(wire.sender, wire.message, self.now)
        return True

    def _perform(self, member: Member, step: Step) -> None:
        assert member.log is not None
        match step:
            case Send(messages):
                self._send(member, messages)
            case Commit(write):
                member.log.append(write)
                member.commits.append(step)
            case ReadLog(read):
                entries = member.log.read_decided(read.start, read.end, bytes_max=1 << 20)
                self._send(member, [member.replica.log_page(read, entries)])
            case AnswerAll(answers):
                for answer in answers:
                    self._note(member, answer)
            case LeadershipStep(change):
                member.leaderships.append(change)
            case _:
                assert_never(step)

    def _send(self, member: Member, messages: Sequence[Outgoing]) -> None:
        wires = [Wire(member.node_id, outgoing.to, outgoing.message) for outgoing in messages]
        assert all(wire.to != member.node_id for wire in wires)
        self.wires += wires
        self.sent += wires

    def _note(self, member: Member, answer: Answer) -> None:
        """Reads and writes have tickets of their own; each is answered once. So is a request that a node was given."""
        match answer:
            case Answered(ticket, result):
                assert ticket not in member.results | member.undone, f"{answer} is a second answer"
                member.results[ticket] = result
            case WriteFailed(ticket, why):
                assert ticket not in member.results | member.undone, f"{answer} is a second answer"
                member.undone[ticket] = why
            case ReadAllowed(ticket):
                assert ticket not in member.allowed, f"{answer} is a second answer"
                member.allowed[ticket] = member.store.applied_end
            case SessionOpenedHere(number, session):
                assert number not in member.opened, f"{answer} is a second answer"
                member.opened[number] = session
            case SessionAnswers(session, answers):
                for sequence, result in answers:
                    member.answers.setdefault((session, sequence), []).append(result)
            case _:
                assert_never(answer)

    # Time

    @property
    def up(self) -> list[Member]:
        return [member for member in self.members.values() if member.process is not None]

    def settle(self) -> None:
        """Messages arrive and turns run until nothing moves; time stands still."""
        for _ in range(10_000):
            while self.deliver():
                pass
            moved = False
            for member in self.up:
                has_news = bool(member.commits) and member.node_id not in self.stalled
                steps = self.turn(member.node_id)
                moved = moved or has_news or bool(steps) or member.replica.wants_turn(self.now)
            if not moved and not self.wires:
                return
        raise AssertionError(f"still busy: {self.wires[:5]}")

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        self.settle()
        while self.now < end:
            deadlines = [d for member in self.up if (d := member.replica.next_deadline()) is not None]
            self.now = min(max(min(deadlines, default=end), self.now + 0.001), end)
            self.settle()

    def run_until(self, done: Callable[[], bool], *, within_s: float = 10.0) -> None:
        begun = self.now
        self.settle()
        while not done():
            assert self.now - begun < within_s, f"not within {within_s} s"
            self.run(0.02)

    # What a story looks at

    def leader(self) -> Member:
        """The leader of the highest ballot."""
        leaders = [member for member in self.up if member.replica.status().role is Role.LEADER]
        assert leaders, "nobody leads"
        return max(leaders, key=lambda member: member.replica.status().ballot)

    def elect(self) -> tuple[Member, ...]:
        """Lets a cluster in which nobody leads find a leader: the leader first, then the others, who follow it."""
        self.run_until(lambda: all(member.replica.status().leader for member in self.up))
        self.run(0.2)
        leader = self.leader()
        assert all(member.replica.status().leader == leader.node_id for member in self.up)
        return (leader, *(member for member in self.up if member is not leader))

    def ready(self) -> tuple[Member, ...]:
        """``elect``, and the session of writes without one is open on every node."""
        members = self.elect()
        for member in members:
            self.write(member, put("first"))
        self.run_until(self.agreed)
        return members

    def open_session(self, member: Member) -> int:
        """A new session, attached to ``member``."""
        number = member.replica.open_session()
        self.run_until(lambda: number in member.opened)
        member.replica.attach(member.opened[number])
        return member.opened[number]

    def write(self, member: Member, entry: Entry) -> Result:
        """Of a client without a session, until it is answered."""
        ticket = member.replica.write(entry)
        self.run_until(lambda: ticket in member.results)
        return member.results[ticket]

    def messages(self, kind: type) -> list[Wire]:
        """Every message of ``kind`` that ever left a node."""
        return [wire for wire in self.sent if isinstance(wire.message, kind)]

    def agreed(self) -> bool:
        """All replicas that run have applied the same slots, and hold the same state."""
        ends = {member.store.applied_end for member in self.up}
        hashes = {member.store.state_hash for member in self.up}
        return len(ends) == 1 and len(hashes) == 1
