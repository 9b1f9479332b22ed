"""The judge of consensus: keeps its own books and never asks a core what it believes.

It knows what became durable on which disk, which messages left which node and which promises reached whom. From these
it computes what is chosen, and holds against it everything that a node lets out (L1 to L7, L13). Reads by a lease are
the business of ``lease_judge`` (L14).
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from kvstore.paxos.durable import AcceptRecord, GoverningConfiguration, LearnRecord, PromiseRecord, Write
from kvstore.paxos.effects import DecidedValue, ReadReady
from kvstore.paxos.messages import (
    Accept,
    Accepted,
    AcceptedEntry,
    Decided,
    Heartbeat,
    HeartbeatReply,
    Prepare,
    Promise,
    SuspectReply,
)
from kvstore.paxos.types import ZERO_BALLOT, Ballot, Configuration, NodeId, ReadId, Slot, Value
from kvstore.testing.sim.events import AnyMessage
from kvstore.testing.sim.laws import Ledger
from kvstore.testing.sim.lease_judge import LeaseJudge

__all__ = ["ConsensusJudge"]


def _is_quorum(configuration: Configuration, nodes: Collection[NodeId]) -> bool:
    """The judge's own arithmetic: more than half of the voters."""
    return 2 * sum(voter in nodes for voter in configuration.voters) > len(configuration.voters)


@dataclass(slots=True)
class _Node:
    """``promised``, ``votes``, ``newest`` and ``learned`` are durable; the rest is what one process let out."""

    promised: Ballot = ZERO_BALLOT
    votes: dict[tuple[Slot, Ballot], Value] = field(default_factory=dict)
    newest: dict[Slot, AcceptRecord | LearnRecord] = field(default_factory=dict)
    learned: dict[tuple[Slot, Ballot], Value] = field(default_factory=dict)
    recovered: Ballot = ZERO_BALLOT
    decided_end: Slot = Slot(0)
    answered: dict[NodeId, tuple[Ballot, int]] = field(default_factory=dict)
    """The newest read round of this node that each other has answered to it."""
    reads: dict[ReadId, tuple[Ballot, int]] = field(default_factory=dict)
    """Confirmations that were asked for: the newest round begun by then."""
    newest_round: tuple[Ballot, int] = (ZERO_BALLOT, 0)
    """Of the heartbeats that left this node."""


@dataclass(slots=True)
class _Report:
    """What one acceptor's promise of one ballot has told its candidate so far, page by page."""

    next_slot: Slot | None
    newest: dict[Slot, AcceptedEntry] = field(default_factory=dict)
    start_slot: Slot = Slot(0)
    """Below it, so the acceptor says, the proposer has nothing to propose."""


class ConsensusJudge:
    def __init__(
        self,
        ledger: Ledger,
        nodes: Iterable[NodeId],
        first: Configuration,
        *,
        alpha: int,
        inflight_slots_max: int,
        ran_s: Callable[[NodeId], float],
    ) -> None:
        """``ran_s``: how long a node's clock has run, as the node itself counts seconds."""
        self._ledger = ledger
        self._checked = ledger.checked
        self._alpha = alpha
        self._inflight_slots_max = inflight_slots_max
        self._nodes = {node_id: _Node() for node_id in nodes}
        self._proposals: dict[tuple[Slot, Ballot], Value] = {}
        self._ballots_of: dict[Slot, list[Ballot]] = {}
        self._voted: dict[tuple[Slot, Ballot], dict[NodeId, None]] = {}
        self._reports: dict[Ballot, dict[NodeId, _Report]] = {}
        self._whole: dict[Ballot, list[NodeId]] = {}
        """Whose promise of a ballot has come whole, in that order."""
        self._configurations = [GoverningConfiguration(Slot(0), first)]
        self.chosen: dict[Slot, Value] = {}
        self.chosen_end = Slot(0)
        """Every slot below is chosen."""
        self.decided: dict[Slot, Value] = {}
        self.decided_end = Slot(0)
        """The furthest that any node ever decided."""
        self.logs: dict[NodeId, dict[Slot, Value]] = {node_id: {} for node_id in self._nodes}
        """What each node ever gave out as decided."""
        self.leases = LeaseJudge(ledger, ran_s=ran_s)

    def decided_end_of(self, node_id: NodeId) -> Slot:
        return self._nodes[node_id].decided_end

    def configuration_at(self, slot: Slot) -> Configuration:
        return next(g.configuration for g in reversed(self._configurations) if g.from_slot <= slot)

    def members(self) -> tuple[NodeId, ...]:
        """Everyone in a configuration that governs a slot in which nothing is chosen yet, or will."""
        end = self.chosen_end
        later = (g.configuration for g in self._configurations if g.from_slot > end)
        return tuple(sorted(dict.fromkeys(m for c in (self.configuration_at(end), *later) for m in c.members)))

    # What happens to a node

    def process_started(self, node_id: NodeId, *, promised: Ballot, decided_end: Slot) -> None:
        """A process recovered this from its disk."""
        node = self._nodes[node_id]
        self._checked["L2"] += 1
        if promised != node.promised:
            self._broken("L2", f"node {node_id} recovered the promise {promised}; {node.promised} was durable")
        node.recovered = promised
        node.decided_end = decided_end
        node.answered.clear()
        node.reads.clear()

    def durable(self, node_id: NodeId, write: Write) -> None:
        """``write`` is on the disk: its votes count from now on, whether or not anyone hears of them."""
        node = self._nodes[node_id]
        for record in write.records:
            self._checked["L1"] += 1
            match record:
                case PromiseRecord(ballot):
                    if ballot < node.promised:
                        self._broken("L1", f"node {node_id} promised {ballot} after {node.promised}")
                    node.promised = ballot
                case AcceptRecord(slot, ballot, value):
                    if ballot < node.promised:
                        self._broken("L1", f"node {node_id} accepted at {ballot} below its promise {node.promised}")
                    if node.votes.setdefault((slot, ballot), value) != value:
                        self._broken("L3", f"node {node_id} voted twice in slot {slot} at {ballot}")
                    node.promised = ballot
                    node.newest[slot] = record
                    self._count_vote(node_id, record)
                    self._overwrites(node_id, node, slot, value)
                case LearnRecord(slot, ballot, value):
                    node.learned[slot, ballot] = value
                    node.newest[slot] = record
                    if self.chosen.get(slot, value) != value:
                        self._broken("L5", f"node {node_id} learned {value} in slot {slot}, chosen is another value")
                    self._overwrites(node_id, node, slot, value)

    def _overwrites(self, node_id: NodeId, node: _Node, slot: Slot, value: Value) -> None:
        if slot < node.decided_end and self.decided.get(slot, value) != value:
            self._broken("L5", f"node {node_id} overwrites the decided slot {slot} with {value}")

    def decides(self, node_id: NodeId, decided: DecidedValue) -> None:
        """A node gave ``decided`` out."""
        node = self._nodes[node_id]
        slot, value = decided.slot, decided.value
        self._checked["L6"] += 1
        self._checked["L5"] += 1
        if slot != node.decided_end:
            self._broken("L6", f"node {node_id} decides slot {slot} instead of {node.decided_end}")
        if slot not in self.chosen:
            self._broken("L5", f"node {node_id} decides slot {slot}, in which nothing is chosen: {value}")
        if self.chosen[slot] != value:
            self._broken("L5", f"node {node_id} decides {value} in slot {slot}; chosen is {self.chosen[slot]}")
        if self.decided.setdefault(slot, value) != value:
            self._broken("L5", f"slot {slot} is decided twice: {self.decided[slot]} and, by node {node_id}, {value}")
        record = node.newest.get(slot)
        if record is not None and record.value != value:
            self._broken("L5", f"node {node_id} decides {value} in slot {slot} while its log says {record.value}")
        if self.logs[node_id].setdefault(slot, value) != value:
            self._broken("L5", f"node {node_id} decided another value in slot {slot} before")
        node.decided_end = Slot(slot + 1)
        self.decided_end = max(self.decided_end, node.decided_end)

    def asks_to_confirm(self, node_id: NodeId, read_id: ReadId) -> None:
        """A linearizable read reached the leader."""
        node = self._nodes[node_id]
        node.reads[read_id] = node.newest_round

    def read_is_ready(self, node_id: NodeId, ready: ReadReady, *, decided_before: Slot) -> None:
        """The leader says that it led after the read came: a quorum answered a round begun after that (L7), or a
        quorum's lease runs (L14).

        A quorum where the node stands, at any moment since it had decided below ``decided_before`` only. Its own
        acceptor counts as long as it has promised nobody else.
        """
        node = self._nodes[node_id]
        begun_before = node.reads.pop(ready.read_id)
        self._checked["L7"] += 1
        passed = (g.configuration for g in self._configurations if decided_before < g.from_slot <= node.decided_end)
        configurations = (self.configuration_at(decided_before), *passed)
        after = dict.fromkeys(n for n, answered in node.answered.items() if answered > begun_before)
        if node.promised.node_id == node_id:
            after[node_id] = None

        def is_enough(nodes: Collection[NodeId]) -> bool:
            return any(_is_quorum(configuration, nodes) for configuration in configurations)

        if is_enough(after):
            return
        ballot, _ = node.newest_round
        if not self.leases.were_granted(ballot):
            self._broken(
                "L7", f"node {node_id} confirms a read that came after round {begun_before} by {sorted(after)} only"
            )
        self.leases.read_is_ready(node_id, ballot, is_enough=is_enough)

    def takes(self, node_id: NodeId, sender: NodeId, message: AnyMessage) -> None:
        """A node takes ``message`` out of its inbox. Repeated and unasked pages of a promise count for nothing."""
        if isinstance(message, HeartbeatReply):
            node = self._nodes[node_id]
            answered = (message.ballot, message.read_round)
            node.answered[sender] = max(answered, node.answered.get(sender, answered))
            self.leases.takes(sender, message)
            return
        if not isinstance(message, Promise) or message.ballot.node_id != node_id:
            return
        report = self._reports.setdefault(message.ballot, {}).setdefault(sender, _Report(message.from_slot))
        if report.next_slot != message.from_slot:
            return
        report.next_slot = message.next_slot
        report.newest.update({entry.slot: entry for entry in message.accepted})
        report.start_slot = max(report.start_slot, message.decided_end, message.first_slot)
        if report.next_slot is None:
            self._whole.setdefault(message.ballot, []).append(sender)

    def lets_out(self, node_id: NodeId, message: AnyMessage) -> None:
        """``message`` leaves the node."""
        node = self._nodes[node_id]
        self.leases.lets_out(node_id, message)
        match message:
            case Accept():
                self._lets_out_accept(node_id, node, message)
            case Accepted(ballot, start, end):
                self._checked["L2"] += 1
                for slot in range(start, end):
                    if (Slot(slot), ballot) not in node.votes:
                        self._broken(
                            "L2", f"node {node_id} says it accepted slot {slot} at {ballot}; it is not durable"
                        )
            case Heartbeat(ballot=ballot):
                self._own_ballot(node_id, node, ballot)
                self._claims(node_id, message.decided_end)
                node.newest_round = max(node.newest_round, (ballot, message.read_round))
            case HeartbeatReply() | SuspectReply():
                self._claims(node_id, message.decided_end)
            case Prepare(ballot=ballot):
                self._own_ballot(node_id, node, ballot)
            case Promise():
                self._lets_out_promise(node_id, node, message)
            case Decided(entries, decided_end):
                self._claims(node_id, decided_end)
                for entry in entries:
                    self._checked["L5"] += 1
                    if self.chosen.get(entry.slot) != entry.value:
                        self._broken("L5", f"node {node_id} sends {entry} as decided; chosen is something else")
            case _:
                pass

    def _own_ballot(self, node_id: NodeId, node: _Node, ballot: Ballot) -> None:
        self._checked["L3"] += 1
        if ballot.node_id != node_id:
            self._broken("L3", f"node {node_id} speaks in the ballot {ballot} of another")
        if ballot <= node.recovered:
            self._broken("L3", f"node {node_id} speaks in the ballot {ballot}; it recovered {node.recovered}")
        self._checked["L2"] += 1
        if node.promised < ballot:
            self._broken("L2", f"node {node_id} speaks in the ballot {ballot}; durable is {node.promised}")

    def _claims(self, node_id: NodeId, decided_end: Slot) -> None:
        self._checked["L5"] += 1
        if decided_end > self.chosen_end:
            self._broken("L5", f"node {node_id} says all below {decided_end} is decided; chosen is {self.chosen_end}")

    def _lets_out_promise(self, node_id: NodeId, node: _Node, promise: Promise) -> None:
        self._checked["L2"] += 1
        if node.promised < promise.ballot:
            self._broken("L2", f"node {node_id} promises {promise.ballot}; durable is {node.promised}")
        for entry in promise.accepted:
            if (
                node.votes.get((entry.slot, entry.ballot)) != entry.value
                and node.learned.get((entry.slot, entry.ballot)) != entry.value
            ):
                self._broken("L2", f"node {node_id} reports {entry}, which is not durable")
        self._claims(node_id, promise.decided_end)

    def _lets_out_accept(self, node_id: NodeId, node: _Node, accept: Accept) -> None:
        slot, ballot, value = accept.slot, accept.ballot, accept.value
        self._own_ballot(node_id, node, ballot)
        self._claims(node_id, accept.decided_end)
        proposed = self._proposals.get((slot, ballot))
        if proposed is not None:
            if proposed != value:
                self._broken("L3", f"two values in slot {slot} at {ballot}: {proposed} and {value}")
            return
        self._checked["L13"] += 1
        if slot >= node.decided_end + self._inflight_slots_max:
            self._broken("L13", f"node {node_id} proposes in slot {slot}, and has decided below {node.decided_end}")
        self._may_propose(node_id, node, accept)
        self._proposals[slot, ballot] = value
        self._cannot_be_chosen_below(accept)

    # What it computes

    def _may_propose(self, node_id: NodeId, node: _Node, accept: Accept) -> None:
        """Some quorum's whole promises allow it: nothing below their ends, the value of the highest ballot (L4).

        Promises count in the order in which they became whole: the leader may have proposed before the last of them.
        """
        self._checked["L4"] += 1
        slot, ballot, value = accept.slot, accept.ballot, accept.value
        own = node.newest.get(slot)
        if isinstance(own, LearnRecord):
            return  # it may know by now that another value is chosen; this ballot has lost then
        highest = AcceptedEntry(slot, own.ballot, own.value) if own is not None and own.ballot < ballot else None
        start_slot = Slot(0)
        whole = self._whole.get(ballot, [])
        for count in range(len(whole) + 1):
            if count > 0:
                report = self._reports[ballot][whole[count - 1]]
                start_slot = max(start_slot, report.start_slot)
                entry = report.newest.get(slot)
                if entry is not None and (highest is None or entry.ballot > highest.ballot):
                    highest = entry
            if not _is_quorum(self.configuration_at(slot), (node_id, *whole[:count])):
                continue
            if slot >= start_slot and (highest is None or highest.value == value):
                return
        self._broken(
            "L4",
            f"{ballot} proposes {value} in slot {slot}; it has whole promises of {whole} and its own, "
            f"was told that all below {start_slot} is over, and in this slot of {highest}",
        )

    def _cannot_be_chosen_below(self, accept: Accept) -> None:
        """No other value can be or become chosen in a lower ballot ("Paxos Made Simple", P2b)."""
        slot, ballot = accept.slot, accept.ballot
        ballots = self._ballots_of.setdefault(slot, [])
        for other in ballots:
            if self._proposals[slot, other] == accept.value:
                continue
            low, high = sorted((other, ballot))
            low_voters = self._voted.get((slot, low), {})
            could = {n: None for n, node in self._nodes.items() if n in low_voters or node.promised <= low}
            if _is_quorum(self.configuration_at(slot), could):
                self._broken(
                    "L4",
                    f"slot {slot}: {self._proposals[slot, low]} at {low} may yet be chosen, and {high} proposes "
                    f"{self._proposals[slot, high]}",
                )
        ballots.append(ballot)

    def _count_vote(self, node_id: NodeId, vote: AcceptRecord) -> None:
        slot, ballot, value = vote.slot, vote.ballot, vote.value
        if vote.ballot.node_id != node_id or (slot, ballot) in self._proposals:
            proposed = self._proposals.get((slot, ballot))
            if proposed is None or proposed != value:
                self._broken(
                    "L3", f"node {node_id} accepted {value} in slot {slot} at {ballot}; proposed was {proposed}"
                )
        voters = self._voted.setdefault((slot, ballot), {})
        voters[node_id] = None
        if not _is_quorum(self.configuration_at(slot), voters):
            return
        self._checked["L5"] += 1
        known = self.chosen.setdefault(slot, value)
        if known != value:
            self._broken("L5", f"slot {slot}: both {known} and {value} are chosen")
        if slot == self.chosen_end:
            while self.chosen_end in self.chosen:
                self.chosen_end = Slot(self.chosen_end + 1)
        if isinstance(value, Configuration):
            governing = GoverningConfiguration(Slot(slot + self._alpha), value)
            if governing not in self._configurations:
                self._configurations.append(governing)
                self._configurations.sort(key=lambda g: g.from_slot)

    def _broken(self, law: str, detail: str) -> None:
        self._ledger.broken(law, detail)
