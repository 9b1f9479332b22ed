"""How a replica that is behind asks for what it lacks: one question at a time, of another when one stays silent."""

from kvstore.paxos.types import NodeId, Slot

__all__ = ["CatchUpState"]


class CatchUpState:
    def __init__(self, *, retry_s: float) -> None:
        self._retry_s = retry_s
        self.known_end = Slot(0)
        """The highest ``decided_end`` that anyone has spoken of."""
        self._source: NodeId | None = None
        self.retry_at: float | None = None
        """When to ask again: the question that is out counts as lost, or nobody had an answer; None: at once."""
        self._is_out = False
        self._fruitless = 0
        self._probes = 0

    def hear(self, source: NodeId, decided_end: Slot) -> None:
        if decided_end > self.known_end:
            self.known_end = decided_end
            if self.retry_at is None:
                self._source = source

    def ask(self, *, decided_end: Slot, others: tuple[NodeId, ...], now: float) -> NodeId | None:
        """Whom to ask now: None where nothing is lacking or a question is still out."""
        if decided_end >= self.known_end or not others:
            self.retry_at = None
            self._is_out = False
            return None
        if self.retry_at is not None:
            if now < self.retry_at:
                return None
            if self._is_out:
                self.turn_elsewhere(others)
        if self._source not in others:
            self._source = others[0]
        self.retry_at = now + self._retry_s
        self._is_out = True
        return self._source

    def answered(self, *, useful: bool, others: tuple[NodeId, ...]) -> None:
        """An answer came. The next question may go out at once, to someone else if this one did not help.

        Once nobody could help, it waits until ``retry_at``: two nodes that know nothing new would otherwise answer
        each other as fast as the network goes.
        """
        was_out, self._is_out = self._is_out, False
        if useful:
            self._fruitless = 0
            self.retry_at = None
        if useful or not was_out:
            return
        self.turn_elsewhere(others)
        self._fruitless += 1
        if self._fruitless < len(others):
            self.retry_at = None
        else:
            self._fruitless = 0

    def probe(self, others: tuple[NodeId, ...]) -> NodeId | None:
        """Whom to ask though nothing is known to be lacking: somebody else each time."""
        self._probes += 1
        return others[self._probes % len(others)] if others else None

    def turn_elsewhere(self, others: tuple[NodeId, ...]) -> None:
        if self._source in others:
            self._source = others[(others.index(self._source) + 1) % len(others)]
        else:
            self._source = others[0] if others else None
