"""A process's clock: monotonic, from an arbitrary beginning, right only in the long run if at all (L14)."""

from collections.abc import Callable
from random import Random

from kvstore.testing.sim.scheduler import Scheduler

__all__ = ["Clock", "wander"]


class Clock:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._since = 0.0
        self._reading = 0.0
        self._ran_s = 0.0
        self.rate = 1.0
        """How many of its seconds pass in a true one."""

    def now(self) -> float:
        return self._reading + (self._scheduler.now - self._since) * self.rate

    @property
    def ran_s(self) -> float:
        """How many of its seconds have passed since the world began, whatever it reads: no process changes that."""
        return self._ran_s + (self._scheduler.now - self._since) * self.rate

    def begin(self, reading: float) -> None:
        """A new process: the clock reads ``reading``."""
        self._ran_s = self.ran_s
        self._since, self._reading = self._scheduler.now, reading

    def set_rate(self, rate: float) -> None:
        self.begin(self.now())
        self.rate = rate

    def jump(self, seconds: float) -> None:
        """Ahead only."""
        assert seconds >= 0, f"a monotonic clock does not go back by {seconds}"
        self.begin(self.now() + seconds)

    def true_seconds_until(self, reading: float) -> float:
        """How long until it reads that, if its rate stays as it is."""
        return max(0.0, reading - self.now()) / self.rate


def wander(
    scheduler: Scheduler, rng: Random, set_rate: Callable[[float], None], *, drift: float, each_s: float
) -> None:
    """For ever: a clock keeps a rate for about ``each_s``, then another, ``drift`` from the true one at most."""
    set_rate(1.0 + drift * rng.choice((-1.0, 1.0, rng.uniform(-1.0, 1.0))))
    again_s = each_s * rng.uniform(0.2, 2.0)
    scheduler.after(again_s, lambda: wander(scheduler, rng, set_rate, drift=drift, each_s=each_s))
