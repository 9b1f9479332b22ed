"""One call's life over several endpoints, without I/O: time is an argument, chance an injected ``Random``.

``Attempts`` says whom to ask next, after which pause and with which timeout; the client that drives it sleeps, sends
and reports back. It ends with ``result_in`` an answer, or with ``failed`` raising the error.

A write gets all the time that remains: cutting it short would make its outcome unknown. A read gets a share, so that an
endpoint which accepts requests and never answers leaves time for the others. Pauses double with each attempt and are
jittered, lest clients that failed together come back together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

from kvclient.calls import Call
from kvclient.decisions import Failure, SendAgain, decide
from kvclient.errors import Code

__all__ = ["TIMEOUT_MAX_S", "Attempt", "Attempts", "checked_timeout"]

TIMEOUT_MAX_S = 365 * 86_400.0  # gRPC counts deadlines in integers: an infinite one would be long past

PAUSE_FIRST_S = 0.02
PAUSE_MAX_S = 1.0

T = TypeVar("T")


def checked_timeout(timeout_s: float) -> float:
    """The timeout, if it is one; raises ValueError."""
    if not 0 < timeout_s <= TIMEOUT_MAX_S:
        raise ValueError(f"a timeout is more than 0 seconds and at most {TIMEOUT_MAX_S:.0f}: {timeout_s!r}")
    return timeout_s


@dataclass(frozen=True, slots=True)
class Attempt:
    """Wait ``pause_s``, then ask ``endpoint`` and wait at most ``timeout_s`` for its answer."""

    endpoint: str
    pause_s: float
    timeout_s: float


class Attempts(Generic[T]):
    """Begins with the endpoint at index ``first``: the one that answered last time, see ``preferred``."""

    def __init__(
        self, call: Call[T], *, endpoints: Sequence[str], first: int, timeout_s: float, now: float, rng: Random
    ) -> None:
        self._call = call
        self._endpoints = endpoints
        self._index = first % len(endpoints)
        self._deadline = now + timeout_s
        self._rng = rng
        self._failures = 0
        self._begin = now

    @property
    def preferred(self) -> int:
        """Where the next call had better begin: at the endpoint that answered, or after the one that did not."""
        return self._index

    def first(self) -> Attempt:
        """The attempt to begin with, at once."""
        return self._attempt(pause_s=0.0, now=self._begin)

    def result_in(self, answer: bytes) -> T | Failure:
        """An answer that cannot be read is a failure: it leaves a write's fate unknown."""
        try:
            return self._call.decode(answer)
        except ValueError as unreadable:
            return Failure(Code.INTERNAL, f"unreadable answer: {unreadable}", self._endpoints[self._index])

    def failed(self, failure: Failure, *, now: float) -> Attempt:
        """The next attempt after this failure; raises a ``KvError`` if there must not be one, or no time is left."""
        decision = decide(failure, is_read=self._call.is_read)
        if decision.avoid:
            self._index = (self._index + 1) % len(self._endpoints)
        self._failures += 1
        match decision.send_again:
            case SendAgain.NEVER:
                raise decision.error
            case SendAgain.ELSEWHERE if self._failures >= len(self._endpoints):
                raise decision.error
            case _:
                pass  # if there is time
        pause_s = self._rng.uniform(0.5, 1.0) * min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** min(self._failures - 1, 10))
        if now + pause_s >= self._deadline:
            raise decision.error
        return self._attempt(pause_s=pause_s, now=now)

    def _attempt(self, *, pause_s: float, now: float) -> Attempt:
        remaining_s = self._deadline - now - pause_s
        untried = max(1, len(self._endpoints) - self._failures)
        timeout_s = remaining_s / untried if self._call.is_read else remaining_s
        return Attempt(endpoint=self._endpoints[self._index], pause_s=pause_s, timeout_s=timeout_s)
