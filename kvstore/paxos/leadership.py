"""Phase 2 of one ballot and what only its leader knows: slots in flight, who accepted them, and who still follows.

It asks two quorum questions and never counts peers itself: which slots are chosen, and since when a quorum has been
heard (a leader that hears none for an election timeout must step down; a read waits for a round begun after it, L7).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from kvstore.paxos.configurations import Configurations, is_quorum
from kvstore.paxos.effects import ReadReady
from kvstore.paxos.phase_one import PhaseOne
from kvstore.paxos.types import Ballot, Configuration, NodeId, Noop, ReadId, Slot, Value

__all__ = ["InFlight", "Leadership", "Transferring"]


@dataclass(slots=True)
class InFlight:
    """A slot that this leader proposed and that is not decided here yet."""

    value: Value
    resend_at: float
    resend_s: float
    accepted_by: dict[NodeId, None] = field(default_factory=dict)
    chosen: bool = False


@dataclass(slots=True)
class _WaitingRead:
    read_id: ReadId
    round: int
    index: Slot


@dataclass(slots=True)
class Transferring:
    """From the moment of the request this leader proposes nothing more; ``sent`` once its last slot is decided."""

    target: NodeId
    deadline: float
    sent: bool = False


class Leadership:
    def __init__(
        self,
        node_id: NodeId,
        phase_one: PhaseOne,
        configurations: Configurations,
        *,
        decided_end: Slot,
        now: float,
    ) -> None:
        self._node_id = node_id
        self._configurations = configurations
        self.phase_one = phase_one
        self.next_slot = max(phase_one.start_slot, decided_end)
        self.advanced_at = now
        """When a slot was last decided here."""
        self.in_flight: dict[Slot, InFlight] = {}
        self.transferring: Transferring | None = None
        self.read_round = 0
        self.contact: dict[NodeId, float] = dict.fromkeys(phase_one.promised_by, now)
        """For each node when the newest of our messages that it has answered was sent."""
        self.follower_ends: dict[NodeId, Slot] = {}
        """What each follower last said it has decided."""
        self._answered_round: dict[NodeId, float] = {}
        self._leases: dict[NodeId, float] = {}
        """Until when each node certainly hears no other candidate, by this node's clock."""
        self._reads: list[_WaitingRead] = []
        self.heartbeat_at = now
        """When the next heartbeat is due: the first at once."""
        self.announced_end = decided_end
        """What followers have been told is decided."""
        self._announce_at = float("inf")

    @property
    def ballot(self) -> Ballot:
        return self.phase_one.ballot

    # Phase 2

    def may_propose(self, slot: Slot) -> bool:
        """Whether a quorum of the configuration that governs ``slot`` has promised this ballot."""
        return is_quorum(self._configurations.at(slot), self.phase_one.promised_by)

    def unprepared(self, decided_end: Slot) -> tuple[Configuration, ...]:
        """Configurations whose voters must promise before their slots may be proposed."""
        return tuple(
            c for c in self._configurations.undecided(decided_end) if not is_quorum(c, self.phase_one.promised_by)
        )

    def inherited(self) -> Value | None:
        """What L4 demands in the next slot: an adopted value, a no-op in a gap below one, or nothing at all."""
        self.next_slot = max(self.next_slot, self.phase_one.start_slot)
        entry = self.phase_one.adopted.get(self.next_slot)
        if entry is not None:
            return entry.value
        return Noop() if self.next_slot < self.phase_one.end_slot else None

    def propose(self, value: Value, *, now: float, resend_s: float) -> Slot:
        """Assigns ``value`` to the next slot."""
        slot = self.next_slot
        assert slot not in self.in_flight
        self.in_flight[slot] = InFlight(value, now + resend_s, resend_s)
        self.phase_one.adopted.pop(slot, None)
        self.next_slot = Slot(slot + 1)
        return slot

    def is_contradicted(self, slot: Slot, value: Value) -> bool:
        """Whether ``value``, chosen in ``slot``, proves that a higher ballot rules.

        What was chosen below this ballot, its phase 1 found (P2c). A value that it neither found nor proposed was
        chosen above it: to lead on would be to claim slots as decided in which others accepted something else from
        us (L5).
        """
        flight = self.in_flight.get(slot)
        if flight is not None:
            return flight.value != value
        if slot < self.next_slot or slot < self.phase_one.start_slot or not self.may_propose(slot):
            return False
        entry = self.phase_one.adopted.get(slot)
        if entry is not None:
            return entry.value != value
        return slot >= self.phase_one.end_slot or not isinstance(value, Noop)

    def decided(self, slot: Slot, value: Value, *, now: float) -> None:
        """``slot`` is decided: nothing is proposed in it any more.

        Who joins with it has the time to answer. Leases are asked for anew, since theirs may have become shorter.
        """
        self.in_flight.pop(slot, None)
        self.phase_one.adopted.pop(slot, None)
        self.next_slot = max(self.next_slot, Slot(slot + 1))
        self.advanced_at = now
        if isinstance(value, Configuration):
            self._leases.clear()
            for member in value.members:
                self.contact.setdefault(member, now)

    def accepted(self, sender: NodeId, *, start: Slot, end: Slot) -> None:
        """``sender`` has [start, end) durable at this ballot."""
        if end - start > len(self.in_flight):
            slots: Iterator[Slot] = (slot for slot in self.in_flight if start <= slot < end)
        else:
            slots = (Slot(slot) for slot in range(start, end))
        for slot in slots:
            flight = self.in_flight.get(slot)
            if flight is None:
                continue
            flight.accepted_by[sender] = None
            if not flight.chosen:
                flight.chosen = is_quorum(self._configurations.at(slot), flight.accepted_by)

    def due_for_resend(self, now: float, *, wait_max_s: float) -> list[tuple[Slot, InFlight]]:
        """Slots that waited too long for an answer; each waits twice as long the next time, up to ``wait_max_s``."""
        due = [(slot, flight) for slot, flight in self.in_flight.items() if now >= flight.resend_at]
        for _, flight in due:
            flight.resend_s = min(2 * flight.resend_s, wait_max_s)
            flight.resend_at = now + flight.resend_s
        return due

    # When to speak

    def announce_by(self, deadline: float) -> None:
        """What is decided has to reach the followers by then: with an Accept, or else with a heartbeat."""
        self._announce_at = min(self._announce_at, deadline)

    def announced(self, decided_end: Slot) -> None:
        """Every follower is told that much, with an Accept or a heartbeat."""
        self.announced_end = decided_end
        self._announce_at = float("inf")

    def is_beat_due(self, now: float) -> bool:
        return now >= min(self.heartbeat_at, self._announce_at) or self.has_unasked_reads

    @property
    def next_deadline(self) -> float:
        deadlines = [self.heartbeat_at, self._announce_at, self.phase_one.resend_at]
        deadlines += [flight.resend_at for flight in self.in_flight.values()]
        if self.transferring is not None:
            deadlines.append(self.transferring.deadline)
        return min(deadlines)

    # Leadership and reads

    def heard(self, sender: NodeId, *, sent_at: float, read_round: int, decided_end: Slot, lease_until: float) -> None:
        self._leases[sender] = max(self._leases.get(sender, lease_until), lease_until)
        self.contact[sender] = max(self.contact.get(sender, sent_at), sent_at)
        self._answered_round[sender] = max(self._answered_round.get(sender, 0), read_round)
        self.follower_ends[sender] = decided_end

    def quorum_heard_at(self, decided_end: Slot, *, now: float) -> float:
        """The newest time at which a quorum (of every undecided configuration) was still reached."""
        return self._configurations.quorum_floor(decided_end, self.contact | {self._node_id: now})

    def add_read(self, read_id: ReadId, *, index: Slot) -> None:
        """The read waits for the next round, which begins after it (L7)."""
        self._reads.append(_WaitingRead(read_id, self.read_round + 1, index))

    @property
    def has_unasked_reads(self) -> bool:
        return bool(self._reads) and self._reads[-1].round > self.read_round

    def holds_lease(self, decided_end: Slot, *, now: float) -> bool:
        """Whether nobody can have been elected beside this leader up to now. A handover begins by giving it up.

        The leader's own acceptor needs no lease: when it promises somebody else, the leadership ends with it.
        """
        if self.transferring is not None:
            return False
        return now < self._configurations.quorum_floor(decided_end, self._leases | {self._node_id: float("inf")})

    def take_confirmed_reads(self, decided_end: Slot, *, now: float) -> list[ReadReady]:
        """None before all that phase 1 found is decided, for every configuration that it brought to light (L7).

        Only then is it known whose quorum has to answer: a configuration found undecided may have governed slots that
        were chosen without any node that this phase 1 asked first. Nor is a configuration asked any more that governs
        none but decided slots: what it chose under others may be older than the read, so the index covers its slots.
        """
        if not self._reads or decided_end < self.phase_one.end_slot or self.unprepared(decided_end):
            return []
        answered = self._answered_round | {self._node_id: float(self.read_round)}
        confirmed = self._configurations.quorum_floor(decided_end, answered)
        if self.holds_lease(decided_end, now=now):
            confirmed = float("inf")
        end = max(self.phase_one.end_slot, self._configurations.governed_from(decided_end))
        ready = [ReadReady(r.read_id, max(r.index, end)) for r in self._reads if r.round <= confirmed]
        self._reads = [read for read in self._reads if read.round > confirmed]
        return ready

    def take_all_reads(self) -> list[ReadId]:
        """The reads that a lost leadership leaves without an answer."""
        reads = [read.read_id for read in self._reads]
        self._reads = []
        return reads

    def successor(self, voters: tuple[NodeId, ...], *, now: float, heard_within_s: float) -> NodeId | None:
        """Who could take over soonest: heard of lately, and with the most decided."""
        fresh = [v for v in voters if v != self._node_id and now - self.contact.get(v, float("-inf")) <= heard_within_s]
        return max(fresh, key=lambda v: (self.follower_ends.get(v, Slot(0)), -v), default=None)
