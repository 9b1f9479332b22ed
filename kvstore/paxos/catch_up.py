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
        """When the question that is out counts as lost; None while none is out."""

    def hear(self, source: NodeId, decided_end: Slot) -> None:
        if decided_end > self.known_end:
            self.known_end = decided_end
            if self.retry_at is None:
                self._source = source

    def ask(self, *, decided_end: Slot, others: tuple[NodeId, ...], now: float) -> NodeId | None:
        """Whom to ask now: None where nothing is lacking or a question is still out."""
        if decided_end >= self.known_end or not others:
            self.retry_at = None
            return None
        if self.retry_at is not None:
            if now < self.retry_at:
                return None
            self.turn_elsewhere(others)
        if self._source not in others:
            self._source = others[0]
        self.retry_at = now + self._retry_s
        return self._source

    def answered(self, *, useful: bool, others: tuple[NodeId, ...]) -> None:
        """An answer came: the next question may go out at once, to someone else if this one did not help."""
        self.retry_at = None
        if not useful:
            self.turn_elsewhere(others)

    def turn_elsewhere(self, others: tuple[NodeId, ...]) -> None:
        if self._source in others:
            self._source = others[(others.index(self._source) + 1) % len(others)]
        else:
            self._source = others[0] if others else None
