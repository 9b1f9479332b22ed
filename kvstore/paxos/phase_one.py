"""Phase 1 of one ballot, over all undecided slots at once ("Paxos Made Simple", §3).

It gathers promises page by page; a promise counts only once its last page has come. It answers two questions: who has
promised, and what must be proposed in which slot (L4: the value of the highest ballot that the promises report).
"""

from dataclasses import dataclass, field

from kvstore.paxos.messages import AcceptedEntry, Promise
from kvstore.paxos.types import Ballot, NodeId, Slot

__all__ = ["PhaseOne"]


@dataclass(slots=True)
class _PartialPromise:
    wanted: Slot
    entries: list[AcceptedEntry] = field(default_factory=list)


class PhaseOne:
    def __init__(self, ballot: Ballot, from_slot: Slot, *, released: Ballot | None = None) -> None:
        self.ballot = ballot
        self.from_slot = from_slot
        self.released = released
        """The ballot whose leader asked for this candidacy (Prepare says so)."""
        self.resend_at = float("inf")
        """When to ask again those whose promises are lacking."""
        self.promised_by: dict[NodeId, None] = {}
        """Whose whole promise has come, in that order (a dict, as sets have no order to replay: L8)."""
        self.start_slot = from_slot
        """Slots below are decided somewhere: learn them, never propose there (L4)."""
        self.end_slot = from_slot
        """All slots that any promise reports lie below (L7: reads wait until they are decided)."""
        self.adopted: dict[Slot, AcceptedEntry] = {}
        self._partial: dict[NodeId, _PartialPromise] = {}

    def wanted(self, node_id: NodeId) -> Slot | None:
        """Which page to ask ``node_id`` for next; None where its promise is whole."""
        if node_id in self.promised_by:
            return None
        partial = self._partial.get(node_id)
        return partial.wanted if partial else self.from_slot

    def receive(self, sender: NodeId, promise: Promise) -> bool:
        """Takes one page. True where it advanced this promise; a repeated or unasked page changes nothing."""
        assert promise.ballot == self.ballot
        if promise.from_slot != self.wanted(sender):
            return False
        partial = self._partial.setdefault(sender, _PartialPromise(self.from_slot))
        partial.entries.extend(promise.accepted)
        self.start_slot = max(self.start_slot, promise.decided_end, promise.first_slot)
        self.end_slot = max(self.end_slot, self.start_slot)
        if promise.next_slot is not None:
            assert promise.next_slot > partial.wanted, "pages go forward"
            partial.wanted = promise.next_slot
            return True
        del self._partial[sender]
        self.promised_by[sender] = None
        for entry in partial.entries:
            self._adopt(entry)
        return True

    def _adopt(self, entry: AcceptedEntry) -> None:
        self.end_slot = max(self.end_slot, Slot(entry.slot + 1))
        best = self.adopted.get(entry.slot)
        if best is None or entry.ballot > best.ballot:
            self.adopted[entry.slot] = entry
        elif entry.ballot == best.ballot:
            assert entry.value == best.value, f"two values in slot {entry.slot} at ballot {entry.ballot} (L3)"
