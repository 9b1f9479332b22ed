"""The judge of a small world: keeps its own books and never asks a core what it believes.

It knows what is on which disk, what left which node, who voted for what and what was promised to whom; from these it
computes what is chosen, and holds against it everything that a core lets out.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.core import Paxos
from kvstore.paxos.durable import (
    AcceptedValue,
    AcceptRecord,
    GoverningConfiguration,
    LearnRecord,
    PromiseRecord,
    Record,
    Write,
)
from kvstore.paxos.effects import DecidedValue, Effects, LogRead, ProposalLost
from kvstore.paxos.messages import Accept, Accepted, AcceptedEntry, Heartbeat, Message, Prepare, Promise
from kvstore.paxos.types import ZERO_BALLOT, Ballot, Configuration, NodeId, ProposalId, ReadId, Slot, Value

__all__ = ["Disk", "InFlight", "Judge", "Node"]


def is_quorum(configuration: Configuration, nodes: Collection[NodeId]) -> bool:
    """The judge's own arithmetic: more than half of the voters."""
    return 2 * sum(voter in nodes for voter in configuration.voters) > len(configuration.voters)


@dataclass(frozen=True, slots=True)
class InFlight:
    """A message on its way."""

    sender: NodeId
    to: NodeId
    message: Message


@dataclass(slots=True)
class Disk:
    """What one node would find after a power loss: ``records`` are synced, ``pending`` writes are not."""

    records: list[Record] = field(default_factory=list)
    pending: deque[Write] = field(default_factory=deque)
    promised: Ballot = ZERO_BALLOT
    newest: dict[Slot, AcceptedValue] = field(default_factory=dict)
    votes: dict[tuple[Slot, Ballot], Value] = field(default_factory=dict)
    first_slot: Slot = Slot(0)
    applied_end: Slot = Slot(0)
    """The durable end of the state machine, which may be behind or ahead of the log."""

    def sync(self) -> Write:
        write = self.pending.popleft()
        for record in write.records:
            self._append(record)
        return write

    def _append(self, record: Record) -> None:
        self.records.append(record)
        match record:
            case PromiseRecord(ballot):
                assert ballot > self.promised, f"promised {ballot} after {self.promised} (L1)"
                self.promised = ballot
            case AcceptRecord(slot, ballot, value):
                assert ballot >= self.promised, f"accepted at {ballot} below the promise {self.promised} (L1)"
                assert self.votes.setdefault((slot, ballot), value) == value, f"two votes at {ballot} in slot {slot}"
                self.promised = ballot
                self._keep(slot, AcceptedValue(ballot, value))
            case LearnRecord(slot, ballot, value):
                self._keep(slot, AcceptedValue(ballot, value, learned=True))

    def _keep(self, slot: Slot, newest: AcceptedValue) -> None:
        if slot >= self.first_slot:  # else the log was cut while the write was under way
            self.newest[slot] = newest

    def read_decided(self, start: Slot, end: Slot) -> tuple[AcceptedEntry, ...]:
        """As the storage room reads: the newest record of each slot, up to the first hole."""
        entries = []
        for number in range(max(start, self.first_slot), end):
            known = self.newest.get(Slot(number))
            if known is None:
                break
            entries.append(AcceptedEntry(Slot(number), known.ballot, known.value))
        return tuple(entries)


@dataclass(slots=True)
class Node:
    config: PaxosConfig
    disk: Disk
    paxos: Paxos | None = None
    applied_end: Slot = Slot(0)
    """Every slot below was given out as decided, in order (L6)."""
    applied: list[DecidedValue] = field(default_factory=list)
    """What this process was given as decided, since it started."""
    skew_s: float = 0.0
    """How far this node's clock runs ahead (L14: it may hurt nobody but its own elections)."""
    rate: float = 1.0
    """How fast it runs (read leases lean on that, within their drift bound)."""
    ballots_recovered: Ballot = ZERO_BALLOT
    recovered_config: tuple[GoverningConfiguration, ...] = ()
    proposed: dict[ProposalId, Value] = field(default_factory=dict)
    lost: list[ProposalLost] = field(default_factory=list)
    reads: dict[ReadId, Slot] = field(default_factory=dict)
    """Reads without an answer yet, and the index that L7 demands of it."""
    reads_ready: dict[ReadId, Slot] = field(default_factory=dict)
    reads_failed: list[ReadId] = field(default_factory=list)
    log_reads: list[LogRead] = field(default_factory=list)
    history: list[Effects] = field(default_factory=list)

    @property
    def core(self) -> Paxos:
        assert self.paxos is not None, f"node {self.config.node_id} is down"
        return self.paxos


@dataclass(slots=True)
class Report:
    """What one acceptor's promise of one ballot has told its candidate so far, page by page."""

    next_slot: Slot | None
    newest: dict[Slot, AcceptedEntry] = field(default_factory=dict)
    start_slot: Slot = Slot(0)
    """Below it, so the acceptor says, the proposer has nothing to propose."""

    @property
    def whole(self) -> bool:
        return self.next_slot is None


class Judge:
    def __init__(self, first: Configuration) -> None:
        self.nodes: dict[NodeId, Node] = {}
        self.alpha = 0
        self.proposals: dict[tuple[Slot, Ballot], Value] = {}
        self.ballots_of: dict[Slot, list[Ballot]] = {}
        self.voted: dict[tuple[Slot, Ballot], set[NodeId]] = {}
        self.chosen: dict[Slot, Value] = {}
        self.chosen_configurations: list[GoverningConfiguration] = [GoverningConfiguration(Slot(0), first)]
        self.decided: dict[Slot, Value] = {}
        self.decided_end = Slot(0)
        """The furthest that any node ever decided."""
        self.reports: dict[Ballot, dict[NodeId, Report]] = {}

    def configuration_at(self, slot: Slot) -> Configuration:
        return next(g.configuration for g in reversed(self.chosen_configurations) if g.from_slot <= slot)

    def configurations_from(self, decided_end: Slot) -> tuple[GoverningConfiguration, ...]:
        """Those decided below ``decided_end`` that govern a slot ≥ it: what a state machine stores."""
        known = [g for g in self.chosen_configurations if g.from_slot == 0 or g.from_slot - self.alpha < decided_end]
        while len(known) > 1 and known[1].from_slot <= decided_end:
            del known[0]
        return tuple(known)

    def judge_message(self, node_id: NodeId, message: Message) -> None:
        node = self.nodes[node_id]
        disk = node.disk
        match message:
            case Prepare(ballot=ballot):
                assert ballot.node_id == node_id
                assert disk.promised >= ballot, f"Prepare {ballot} left before its promise was durable (L2)"
                assert ballot > node.ballots_recovered, f"{ballot} was recovered, and is used again (L3)"
            case Promise(ballot=ballot, accepted=accepted):
                assert disk.promised >= ballot, f"Promise {ballot} left before it was durable (L2)"
                for entry in accepted:
                    known = disk.votes.get((entry.slot, entry.ballot))
                    learned = LearnRecord(entry.slot, entry.ballot, entry.value)
                    assert known == entry.value or learned in disk.records, f"{entry} reported before durable (L2)"
            case Accepted(ballot=ballot, start=start, end=end):
                for slot in range(start, end):
                    assert (Slot(slot), ballot) in disk.votes, f"Accepted {slot} at {ballot} before durable (L2)"
            case Accept(ballot=ballot, slot=slot, value=value):
                assert ballot.node_id == node_id
                assert ballot > node.ballots_recovered, f"{ballot} was recovered, and is used again (L3)"
                self._judge_proposal(slot, ballot, value)
                window = node.config.inflight_slots_max
                assert slot < node.core.status().decided_end + window, "the window is bounded (L13)"
            case Heartbeat(ballot=ballot):
                assert ballot.node_id == node_id
                assert ballot > node.ballots_recovered
            case _:
                pass

    def hear_promise(self, sender: NodeId, promise: Promise) -> None:
        """A page of a promise reaches the candidate. Repeated and unasked pages count for nothing."""
        reports = self.reports.setdefault(promise.ballot, {})
        report = reports.setdefault(sender, Report(promise.from_slot))
        if report.next_slot != promise.from_slot:
            return
        report.next_slot = promise.next_slot
        report.newest.update({entry.slot: entry for entry in promise.accepted})
        report.start_slot = max(report.start_slot, promise.decided_end, promise.first_slot)

    def _judge_adoption(self, slot: Slot, ballot: Ballot, value: Value) -> None:
        """The value of the highest ballot that whole promises report, and no slot below the ends they report (L4)."""
        reports = [report for report in self.reports.get(ballot, {}).values() if report.whole]
        for report in reports:
            assert slot >= report.start_slot, f"{ballot} proposes in slot {slot} below {report.start_slot} (L4)"
        found = [report.newest[slot] for report in reports if slot in report.newest]
        own = self.nodes[ballot.node_id].disk.newest.get(slot)
        if own is not None and own.learned:
            return  # it may know by now that another value is chosen; this ballot has lost then
        if own is not None and own.ballot < ballot:
            found.append(AcceptedEntry(slot, own.ballot, own.value))
        highest = max(found, key=lambda entry: entry.ballot, default=None)
        assert highest is None or highest.value == value, f"{ballot} proposes {value} and was told of {highest} (L4)"

    def _judge_proposal(self, slot: Slot, ballot: Ballot, value: Value) -> None:
        """One value per ballot (L3), and nothing else can be or become chosen below it (P2b, L4)."""
        if (slot, ballot) in self.proposals:
            assert self.proposals[slot, ballot] == value, f"two values in slot {slot} at ballot {ballot} (L3)"
            return
        self._judge_adoption(slot, ballot, value)
        self.proposals[slot, ballot] = value
        ballots = self.ballots_of.setdefault(slot, [])
        for other in ballots:
            if self.proposals[slot, other] == value:
                continue
            low, high = sorted((other, ballot))
            low_voters = self.voted.get((slot, low), set())
            could = [n for n, node in self.nodes.items() if n in low_voters or node.disk.promised <= low]
            assert not is_quorum(self.configuration_at(slot), could), (
                f"slot {slot}: {self.proposals[slot, low]} at {low} may yet be chosen, and {high} "
                f"proposes {self.proposals[slot, high]} (P2b, L4)"
            )
        ballots.append(ballot)

    def judge_decided(self, node_id: NodeId, decided: DecidedValue) -> None:
        node = self.nodes[node_id]
        slot = decided.slot
        assert slot == node.applied_end, f"node {node_id} decides slot {slot} instead of {node.applied_end} (L6)"
        assert slot in self.chosen, f"node {node_id} decides slot {slot}, in which nothing is chosen (L5)"
        assert self.chosen[slot] == decided.value, f"slot {slot}: chosen {self.chosen[slot]}, not {decided.value} (L5)"
        assert self.decided.setdefault(slot, decided.value) == decided.value
        on_disk = node.disk.newest.get(slot)
        assert on_disk is None or on_disk.value == decided.value, (
            f"node {node_id} decides {decided.value} in slot {slot} while its log says {on_disk}: "
            "a crash now, and its log would be read as if that were decided (L5)"
        )
        node.applied_end = Slot(slot + 1)
        node.applied.append(decided)
        self.decided_end = max(self.decided_end, node.applied_end)

    def count_vote(self, node_id: NodeId, vote: AcceptRecord) -> None:
        assert vote.ballot.node_id != node_id or vote.ballot > ZERO_BALLOT
        proposed = self.proposals.setdefault((vote.slot, vote.ballot), vote.value)
        assert proposed == vote.value, f"{vote} was never proposed; {proposed} was (L3)"
        voters = self.voted.setdefault((vote.slot, vote.ballot), set())
        voters.add(node_id)
        if is_quorum(self.configuration_at(vote.slot), voters):
            known = self.chosen.setdefault(vote.slot, vote.value)
            assert known == vote.value, f"slot {vote.slot}: both {known} and {vote.value} are chosen (L5)"
            if isinstance(known, Configuration):
                governing = GoverningConfiguration(Slot(vote.slot + self.alpha), known)
                if governing not in self.chosen_configurations:
                    self.chosen_configurations.append(governing)
                    self.chosen_configurations.sort(key=lambda g: g.from_slot)
