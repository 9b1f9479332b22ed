"""Which configuration governs which slot, and what a quorum is there.

A configuration decided in slot s governs the slots from s + α on. No slot ≥ s + α is proposed before s is decided, so a
proposer always knows who votes on what it proposes. Phase 1 and the confirmation of a leadership speak for *all*
undecided slots and therefore need a quorum of every configuration that governs one.
"""

from collections.abc import Collection, Mapping

from kvstore.paxos.durable import GoverningConfiguration
from kvstore.paxos.types import Configuration, NodeId, Slot

__all__ = ["Configurations", "is_quorum"]


def is_quorum(configuration: Configuration, nodes: Collection[NodeId]) -> bool:
    """Whether ``nodes`` hold a majority of the voters; others among them do not count."""
    return sum(voter in nodes for voter in configuration.voters) >= configuration.quorum_size


class Configurations:
    def __init__(self, governing: tuple[GoverningConfiguration, ...], *, alpha: int) -> None:
        assert governing, "a cluster has a configuration from its first slot on"
        self._alpha = alpha
        self._governing = list(governing)
        self._assert_ordered()

    def at(self, slot: Slot) -> Configuration:
        """The configuration that governs ``slot``. What is decided later than slot - α cannot change it."""
        for governing in reversed(self._governing):
            if governing.from_slot <= slot:
                return governing.configuration
        raise AssertionError(f"slot {slot} lies before the first known configuration, {self._governing[0].from_slot}")

    def governed_from(self, slot: Slot) -> Slot:
        """Where the configuration that governs ``slot`` begins to govern."""
        return next(g.from_slot for g in reversed(self._governing) if g.from_slot <= slot)

    def undecided(self, decided_end: Slot) -> tuple[Configuration, ...]:
        """Every known configuration that governs a slot ≥ ``decided_end``, in slot order."""
        later = tuple(g.configuration for g in self._governing if g.from_slot > decided_end)
        return (self.at(decided_end), *later)

    def decide(self, slot: Slot, configuration: Configuration) -> None:
        """``configuration`` is decided in ``slot``."""
        self._governing.append(GoverningConfiguration(Slot(slot + self._alpha), configuration))
        self._assert_ordered()

    def forget_before(self, decided_end: Slot) -> None:
        """Drops what governs only decided slots."""
        while len(self._governing) > 1 and self._governing[1].from_slot <= decided_end:
            del self._governing[0]

    def lease_s(self, decided_end: Slot) -> float:
        """The read lease of the configurations that govern undecided slots; 0 unless all of them want one."""
        return min(configuration.lease_ms for configuration in self.undecided(decided_end)) / 1000

    def quorum_everywhere(self, decided_end: Slot, nodes: Collection[NodeId]) -> bool:
        return all(is_quorum(configuration, nodes) for configuration in self.undecided(decided_end))

    def quorum_floor(self, decided_end: Slot, values: Mapping[NodeId, float]) -> float:
        """The greatest value that a quorum of every undecided configuration has reached; absent nodes have -inf."""
        floors = []
        for configuration in self.undecided(decided_end):
            reached = sorted((values.get(voter, float("-inf")) for voter in configuration.voters), reverse=True)
            floors.append(reached[configuration.quorum_size - 1])
        return min(floors)

    def members(self, decided_end: Slot) -> tuple[NodeId, ...]:
        """Everyone in a configuration that governs an undecided slot, voters first, in a fixed order."""
        return tuple(dict.fromkeys(m for c in self.undecided(decided_end) for m in c.members))

    def voters(self, decided_end: Slot) -> tuple[NodeId, ...]:
        return tuple(dict.fromkeys(v for c in self.undecided(decided_end) for v in c.voters))

    def snapshot(self) -> tuple[GoverningConfiguration, ...]:
        return tuple(self._governing)

    def _assert_ordered(self) -> None:
        slots = [governing.from_slot for governing in self._governing]
        assert slots == sorted(set(slots)), f"configurations govern from distinct slots in order, not {slots}"
