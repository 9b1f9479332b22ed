"""The learner: which slots are decided here, in order and without gaps (L6), and what others may learn from it.

It decides a slot for one of three reasons: the leader on this node saw a quorum accept it, a leader's ``decided_end``
covers it and it was accepted here at that leader's ballot or a higher one (L5), or another replica sent it as decided.
It remembers what this node proposed in which slot, so that a proposal whose leader lost its leadership is still
answered truthfully once its slot is decided.
"""

from collections.abc import Callable

from kvstore.paxos.acceptor import Acceptor, size_of
from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.configurations import Configurations
from kvstore.paxos.durable import DurableState, GoverningConfiguration
from kvstore.paxos.effects import DecidedValue, Fate, LogRead, ProposalLost
from kvstore.paxos.messages import AcceptedEntry, CatchUp, Decided, SnapshotOffer
from kvstore.paxos.types import Ballot, Configuration, NodeId, ProposalId, Slot, Value

__all__ = ["Learner"]


class Learner:
    def __init__(
        self,
        config: PaxosConfig,
        recovered: DurableState,
        acceptor: Acceptor,
        on_decided: Callable[[Slot, Value], None],
    ) -> None:
        self._config = config
        self._acceptor = acceptor
        self._on_decided = on_decided
        self.configurations = Configurations(recovered.configurations, alpha=config.alpha)
        self.decided_end = recovered.decided_end
        self.cache_start = recovered.decided_end
        """Decided slots from here on are in memory; lower ones must be read from the log."""
        self._cached_bytes = 0
        self._proposals: dict[Slot, list[tuple[ProposalId, Value]]] = {}
        self._decided: list[DecidedValue] = []
        self._lost: list[ProposalLost] = []

    # Deciding

    def decide(self, value: Value) -> None:
        """``value`` is chosen in slot ``decided_end``: the only place where a slot becomes decided."""
        slot = self.decided_end
        known = self._acceptor.accepted.get(slot)
        assert known is not None, f"slot {slot} is decided without a record of it"
        assert known.value == value, f"slot {slot}: {value} is decided and {known.value} is recorded (L5)"
        self._on_decided(slot, value)
        own: ProposalId | None = None
        for proposal_id, proposed in self._proposals.pop(slot, ()):
            if proposed == value:
                own = proposal_id
            else:
                self._lost.append(ProposalLost(proposal_id, Fate.NOT_APPLIED))
        self._decided.append(DecidedValue(slot, value, own))
        self.decided_end = Slot(slot + 1)
        if isinstance(value, Configuration):
            self.configurations.decide(slot, value)
        self.configurations.forget_before(self.decided_end)
        self._cached_bytes += size_of(value)
        while (
            self.decided_end - self.cache_start > self._config.cached_slots_max
            or self._cached_bytes > self._config.cached_bytes_max
        ):
            self._forget_oldest()

    def decide_chosen(self, value: Value, *, ballot: Ballot) -> bool:
        """The leader on this node saw a quorum accept ``value`` at ``ballot``; False while the disk must come first."""
        known = self._acceptor.accepted.get(self.decided_end)
        if known is None or known.value != value:  # a leader that does not vote on this slot keeps it all the same
            self._acceptor.learn(AcceptedEntry(self.decided_end, ballot, value))
        if not self._acceptor.is_settled(self.decided_end):
            return False
        self.decide(value)
        return True

    def decide_learned(self) -> None:
        """Goes on over slots that were learned before their turn, or recovered as learned."""
        while (known := self._acceptor.accepted.get(self.decided_end)) is not None and known.learned:
            if not self._acceptor.is_settled(self.decided_end):
                break
            self.decide(known.value)

    @property
    def learned_end(self) -> Slot:
        """The first slot that is not even learned: those from ``decided_end`` on wait for the disk only."""
        slot = self.decided_end
        while (known := self._acceptor.accepted.get(slot)) is not None and known.learned:
            slot = Slot(slot + 1)
        return slot

    def refutes(self, slot: Slot, value: Value) -> bool:
        """Whether ``value`` must not be accepted in ``slot``: another one is decided there, or it is out of sight."""
        if slot >= self.decided_end:
            return False
        known = self._acceptor.accepted.get(slot)
        return known is None or known.value != value

    def decide_below(self, end: Slot, *, ballot: Ballot) -> None:
        """The leader of ``ballot`` knows every slot below ``end`` decided: so do we where we accepted at ≥ it (L5)."""
        slot = self.decided_end
        while slot < end:
            known = self._acceptor.accepted.get(slot)
            if known is None or not (known.learned or known.ballot >= ballot):
                break
            if slot == self.decided_end and self._acceptor.is_settled(slot):
                self.decide(known.value)
            else:
                self._acceptor.learn(AcceptedEntry(slot, known.ballot, known.value))
            slot = Slot(slot + 1)
        self.decide_learned()

    def learn(self, entries: tuple[AcceptedEntry, ...]) -> bool:
        """Takes decided slots from another replica; False where none of them was new."""
        before = end = self.learned_end
        for entry in entries:
            if entry.slot > end:
                break
            if entry.slot == end:
                self._acceptor.learn(entry)
                end = Slot(end + 1)
        self.decide_learned()
        return end > before

    # Proposals of this node

    def proposed(self, slot: Slot, proposal_id: ProposalId, value: Value) -> None:
        self._proposals.setdefault(slot, []).append((proposal_id, value))

    def take_decided(self) -> tuple[DecidedValue, ...]:
        decided = tuple(self._decided)
        self._decided.clear()
        return decided

    def take_lost(self) -> tuple[ProposalLost, ...]:
        lost = tuple(self._lost)
        self._lost.clear()
        return lost

    # What others may learn here

    def answer(self, requester: NodeId, question: CatchUp) -> Decided | SnapshotOffer | LogRead:
        """A page of decided slots from memory, or what to read from the log, or that the log no longer has them."""
        start = question.from_slot
        if start < self._acceptor.first_slot:
            return SnapshotOffer(self._acceptor.first_slot, self.decided_end)
        if start < self.cache_start:
            return LogRead(requester, start, self.decided_end)
        entries: list[AcceptedEntry] = []
        size = 0
        for slot in range(start, min(self.decided_end, start + self._config.page_entries_max)):
            known = self._acceptor.accepted.get(Slot(slot))
            if known is None:
                break
            size += size_of(known.value)
            if entries and size > self._config.page_bytes_max:
                break
            entries.append(AcceptedEntry(Slot(slot), known.ballot, known.value))
        return Decided(tuple(entries), self.decided_end)

    # Snapshots and truncation

    def installed(self, decided_end: Slot, configurations: tuple[GoverningConfiguration, ...]) -> None:
        """The state contains every slot below ``decided_end``; what was proposed there has an unknown fate."""
        for slot in [s for s in self._acceptor.accepted if s < decided_end]:
            self._acceptor.forget(slot)
        for slot in [s for s in self._proposals if s < decided_end]:
            self._lost += [ProposalLost(proposal_id, Fate.UNKNOWN) for proposal_id, _ in self._proposals.pop(slot)]
        self._lost += [ProposalLost(d.proposal_id, Fate.UNKNOWN) for d in self._decided if d.proposal_id is not None]
        self._decided.clear()
        self.decided_end = self.cache_start = decided_end
        self._cached_bytes = 0
        self.configurations = Configurations(configurations, alpha=self._config.alpha)
        self.decide_learned()

    def compacted(self, first_slot: Slot) -> None:
        """The log begins at ``first_slot`` now (L10)."""
        while self.cache_start < first_slot:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        known = self._acceptor.accepted.get(self.cache_start)
        if known is not None:
            self._cached_bytes -= size_of(known.value)
            self._acceptor.forget(self.cache_start)
        self.cache_start = Slot(self.cache_start + 1)
