"""Events on their way to whoever listens: counters, a memory of the last ones, and any subscriber.

Without a subscriber an event costs its construction and no more: text is made only where it is wanted
(``kvstore.testing.sim.narrate``).
"""

from collections import deque
from collections.abc import Callable

from kvstore.testing.sim.events import Event

__all__ = ["Trace"]

_REMEMBERED_MAX = 60


class Trace:
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        """Events so far, by the name of their type."""
        self.last: deque[Event] = deque(maxlen=_REMEMBERED_MAX)
        self._subscribers: list[Callable[[Event], None]] = []

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """``listener`` is called with every event from now on, in order, when it happens. It must not touch the run."""
        self._subscribers.append(listener)

    def emit(self, event: Event) -> None:
        name = type(event).__name__
        self.counts[name] = self.counts.get(name, 0) + 1
        self.last.append(event)
        for listener in self._subscribers:
            listener(event)
