"""When sessions expire: decided by the leader's clock alone, carried out by the log (L8, L14).

The leader notes now and then how far the log was applied. What a note that is old enough covers, and was not used
since, may go: one command names that slot, and every replica drops the same sessions. A new leader knows nothing of the
past and begins to wait anew, so a session never expires early.
"""

from collections import deque
from typing import Final

__all__ = ["SessionExpiry"]

_NOTES_PER_TTL: Final = 8


class SessionExpiry:
    """``ttl_s``: how long a session may be unused, at least."""

    def __init__(self, *, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._notes: deque[tuple[float, int]] = deque()

    def lost_leadership(self) -> None:
        self._notes.clear()

    def due(self, now: float, *, applied_end: int) -> int | None:
        """The slot since which a session must have been used to stay; None: nothing to do now. For leaders only."""
        if now >= self._next_note():
            self._notes.append((now, applied_end))
        if now < self._notes[0][0] + self._ttl_s:
            return None
        _, unused_since = self._notes.popleft()
        return unused_since

    def next_deadline(self) -> float | None:
        """From when on ``due`` has something to do: by the same sums, or a node would spin at the moment itself."""
        if not self._notes:
            return None
        return min(self._next_note(), self._notes[0][0] + self._ttl_s)

    def _next_note(self) -> float:
        return self._notes[-1][0] + self._ttl_s / _NOTES_PER_TTL if self._notes else float("-inf")
