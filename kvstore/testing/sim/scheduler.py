"""The virtual clock and the one queue of everything that is going to happen.

Time moves only from one happening to the next. Two at the same time take place in the order in which they were
scheduled, so a run is a function of its seed.
"""

import heapq
from collections.abc import Callable

__all__ = ["Scheduler"]


class Scheduler:
    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the beginning of the run."""
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0

    def at(self, time: float, happening: Callable[[], None]) -> None:
        """``happening`` takes place at ``time``, or now if that has passed. Nothing is ever taken back: what has lost
        its reason does nothing when its time comes."""
        self._scheduled += 1
        heapq.heappush(self._queue, (max(time, self.now), self._scheduled, happening))

    def after(self, delay_s: float, happening: Callable[[], None]) -> None:
        self.at(self.now + delay_s, happening)

    def step(self) -> bool:
        """The next happening takes place; False where none is left."""
        if not self._queue:
            return False
        self.now, _, happening = heapq.heappop(self._queue)
        happening()
        return True

    @property
    def next_at(self) -> float | None:
        return self._queue[0][0] if self._queue else None
