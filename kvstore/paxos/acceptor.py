"""The acceptor: what one node promised and accepted, and nothing else ("Paxos Made Simple", §2.2 and §2.5).

It keeps L1 (never below its promise) and, through the gate, L2 (durable before it counts). It does not know who leads,
what is chosen or why it is asked.
"""

from kvstore.paxos.durable import AcceptedValue, AcceptRecord, LearnRecord, PromiseRecord
from kvstore.paxos.gate import Gate
from kvstore.paxos.messages import AcceptedEntry
from kvstore.paxos.types import Application, Ballot, Slot, Value, WriteId

__all__ = ["Acceptor", "size_of"]


def size_of(value: Value) -> int:
    """Roughly the bytes that ``value`` takes on the wire."""
    return len(value.data) + 32 if isinstance(value, Application) else 256


class Acceptor:
    def __init__(self, gate: Gate, *, promised: Ballot, accepted: dict[Slot, AcceptedValue], first_slot: Slot) -> None:
        self._gate = gate
        self.promised = promised
        """Below it nothing is promised or accepted (L1). Volatile until the gate's write is persisted."""
        self.accepted = dict(accepted)
        """The newest record per slot: all undecided slots, and as many decided ones as the cache keeps."""
        self.first_slot = first_slot
        """The log begins here: lower slots exist only in the state."""
        self._replaced: dict[Slot, WriteId] = {}
        """Slots whose log may hold an older record of another value, and the write that overrules it."""

    def prepare(self, ballot: Ballot) -> bool:
        """Promises ``ballot``, or returns False where a higher promise forbids it."""
        if ballot < self.promised:
            return False
        if ballot > self.promised:
            self.promised = ballot
            self._gate.record(PromiseRecord(ballot))
        return True

    def accept(self, ballot: Ballot, slot: Slot, value: Value) -> bool:
        """Accepts; False where a higher promise or a chosen value forbids it. A repeated Accept writes nothing."""
        if ballot < self.promised:
            return False
        assert slot >= self.first_slot, f"slot {slot} lies below the log's first slot {self.first_slot} (L4)"
        known = self.accepted.get(slot)
        if known is not None and known.ballot == ballot and not known.learned:
            assert known.value == value, f"two values in slot {slot} at ballot {ballot} (L3)"
            return True
        learned = known is not None and known.learned
        if known is not None and known.learned and known.value != value:
            return False  # another value is chosen, at a higher ballot than this one: the log keeps what is chosen
        if ballot > self.promised:
            self.prepare(ballot)
        self._gate.record(AcceptRecord(slot, ballot, value))
        self._replace(slot, AcceptedValue(ballot, value, learned))
        return True

    def learn(self, entry: AcceptedEntry) -> None:
        """Keeps a value that another replica knows to be chosen. Not a vote: promises neither bind nor rise."""
        known = self.accepted.get(entry.slot)
        if known is not None and known.value == entry.value:
            self.accepted[entry.slot] = AcceptedValue(known.ballot, known.value, learned=True)
            return
        assert known is None or not known.learned, f"slot {entry.slot}: two chosen values (L5)"
        self._gate.record(LearnRecord(entry.slot, entry.ballot, entry.value))
        self._replace(entry.slot, AcceptedValue(entry.ballot, entry.value, learned=True))

    def is_settled(self, slot: Slot) -> bool:
        """Whether the log, if the node stopped now, could not be read as another value than the newest one in ``slot``.

        The state may become durable before the log does. A decided slot is read from the log later, by its newest
        record; so it is not given out as decided while an older record of another value could come back (L5).
        """
        write_id = self._replaced.get(slot)
        if write_id is not None and self._gate.is_durable(write_id):
            del self._replaced[slot]
            return True
        return write_id is None

    def page(
        self, from_slot: Slot, *, entries_max: int, bytes_max: int
    ) -> tuple[tuple[AcceptedEntry, ...], Slot | None]:
        """The accepted values from ``from_slot`` on, in slot order, and where the next page begins, if there is one.

        A page always has at least one entry where there is one, however large.
        """
        entries: list[AcceptedEntry] = []
        size = 0
        for slot in sorted(s for s in self.accepted if s >= from_slot):
            known = self.accepted[slot]
            size += size_of(known.value)
            if entries and (size > bytes_max or len(entries) == entries_max):
                return tuple(entries), slot
            entries.append(AcceptedEntry(slot, known.ballot, known.value))
        return tuple(entries), None

    def forget(self, slot: Slot) -> None:
        """Drops a decided slot from memory: the log on the disk still has it."""
        self.accepted.pop(slot, None)
        self._replaced.pop(slot, None)

    def _replace(self, slot: Slot, newest: AcceptedValue) -> None:
        known = self.accepted.get(slot)
        if known is not None and (known.value != newest.value or slot in self._replaced):
            self._replaced[slot] = self._gate.horizon
        self.accepted[slot] = newest
