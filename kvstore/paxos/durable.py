"""What an acceptor must not forget, and the records that carry it to the disk.

A ``Write`` is one atomic batch: one commit, one fsync. ``DurableState`` is what the log gives back after a restart.
"""

from dataclasses import dataclass, field

from kvstore.paxos.types import ZERO_BALLOT, Ballot, Configuration, Slot, Value, WriteId

__all__ = [
    "AcceptRecord",
    "AcceptedValue",
    "DurableState",
    "GoverningConfiguration",
    "LearnRecord",
    "PromiseRecord",
    "Record",
    "Write",
]


@dataclass(frozen=True, slots=True)
class PromiseRecord:
    """This acceptor promised ``ballot`` (L1)."""

    ballot: Ballot


@dataclass(frozen=True, slots=True)
class AcceptRecord:
    """This acceptor accepted ``value`` in ``slot`` at ``ballot``; it thereby promised ``ballot`` as well."""

    slot: Slot
    ballot: Ballot
    value: Value


@dataclass(frozen=True, slots=True)
class LearnRecord:
    """``value`` is chosen in ``slot``: another replica, which knew it decided, said so. Not a vote.

    ``ballot`` is one at which that replica had accepted it; it says nothing about this node's promise.
    """

    slot: Slot
    ballot: Ballot
    value: Value


Record = PromiseRecord | AcceptRecord | LearnRecord


@dataclass(frozen=True, slots=True)
class Write:
    """One atomic batch of records, in the order in which they happened."""

    write_id: WriteId
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class AcceptedValue:
    """The newest record of one slot. ``learned``: it is known to be chosen."""

    ballot: Ballot
    value: Value
    learned: bool = False


@dataclass(frozen=True, slots=True)
class GoverningConfiguration:
    """``configuration`` governs the slots from ``from_slot`` on, until the next one does."""

    from_slot: Slot
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class DurableState:
    """All that a restarted node knows.

    ``accepted`` has the newest record of every slot ≥ ``decided_end`` (lower ones may be left out: a reader of the log
    serves them). ``decided_end`` is the state machine's durable applied end: it may exceed the end of the local log,
    because a leader can decide through its followers before its own commit returns. ``configurations`` are those that
    govern a slot ≥ ``decided_end``, in slot order, as the state machine stores them.
    """

    configurations: tuple[GoverningConfiguration, ...]
    promised: Ballot = ZERO_BALLOT
    accepted: dict[Slot, AcceptedValue] = field(default_factory=dict)
    first_slot: Slot = Slot(0)
    decided_end: Slot = Slot(0)

    @property
    def lease_s(self) -> float:
        """The longest read lease that this node may have granted before it stopped."""
        known: list[Value] = [g.configuration for g in self.configurations]
        known += [accepted.value for accepted in self.accepted.values()]
        return max(value.lease_ms for value in known if isinstance(value, Configuration)) / 1000
