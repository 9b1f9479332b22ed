"""Which record is the newest of each slot, in memory: eight bytes a slot.

It is rebuilt from the verified records at every start. An index in the database would be one more thing on the disk
that a flipped bit can make wrong without a word (a vote that is not found is a vote forgotten), and one more page to
write per commit. Slots come in runs, but a replica that took a snapshot jumps: hence blocks.
"""

from array import array
from collections.abc import Iterator

from kvstore.paxos.types import Slot

__all__ = ["SlotIndex"]

_BLOCK_SLOTS = 1024
_EMPTY_BLOCK = array("q", [0]) * _BLOCK_SLOTS


class SlotIndex:
    def __init__(self) -> None:
        self._blocks: dict[int, array[int]] = {}
        self.end = Slot(0)
        """One past the highest slot that has a record."""

    def set(self, slot: int, sequence: int) -> None:
        assert sequence > 0, "sequences begin at 1; 0 means none"
        number, offset = divmod(slot, _BLOCK_SLOTS)
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = _EMPTY_BLOCK[:]
        assert block[offset] < sequence, f"slot {slot}: record {sequence} is older than {block[offset]}"
        block[offset] = sequence
        if slot >= self.end:
            self.end = Slot(slot + 1)

    def get(self, slot: int) -> int:
        """The sequence of the newest record of ``slot``, 0 where there is none."""
        number, offset = divmod(slot, _BLOCK_SLOTS)
        block = self._blocks.get(number)
        return 0 if block is None else block[offset]

    def items(self, *, from_slot: int) -> Iterator[tuple[Slot, int]]:
        """All (slot, sequence) from there on, in slot order."""
        for number in sorted(n for n in self._blocks if n >= from_slot // _BLOCK_SLOTS):
            first = number * _BLOCK_SLOTS
            for offset, sequence in enumerate(self._blocks[number]):
                if sequence and first + offset >= from_slot:
                    yield Slot(first + offset), sequence
