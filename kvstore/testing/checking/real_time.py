"""Real time: what returned before another was invoked took effect before it.

The answers give an order with ties: a write has the position 2 · revision, what only saw the state after it
2 · revision + 1. Tied observers may go in any order, so all that can go wrong is a pair: A returned before B was
invoked, and B's position is the lower one. One sweep in the order of positions finds it: the latest invocation among
all lower positions must not be after the return.
"""

import itertools
import math
from collections.abc import Iterable

from kvstore.testing.checking.requests import Request
from kvstore.testing.checking.verdict import Rule, Violation

__all__ = ["Placed", "deadlines", "real_time"]

Placed = tuple[int, Request]  # position, request


def real_time(placed: Iterable[Placed]) -> Iterable[Violation]:
    """One violation for each request that has returned too early, with the latest-invoked one before it."""
    latest: tuple[float, int, Request] | None = None
    for position, ties in itertools.groupby(sorted(placed, key=_position), key=_position):
        tied = [request for _, request in ties]
        if latest is not None:
            invoked_at, before, other = latest
            for request in tied:
                if request.returned_at < invoked_at:
                    yield Violation(
                        Rule.REAL_TIME,
                        (*request.operations, *other.operations),
                        f"the second, invoked at {invoked_at}, after the first, returned at {request.returned_at}",
                        f"the second at revision {before // 2}, the first at revision {position // 2}",
                        revision=position // 2,
                    )
        last = max(tied, key=lambda request: request.invoked_at)
        if latest is None or last.invoked_at > latest[0]:
            latest = (last.invoked_at, position, last)


def deadlines(placed: Iterable[Placed], positions: Iterable[int]) -> list[float]:
    """For each position, ascending: the earliest return among all higher ones; a write there was invoked by then."""
    answered = sorted(placed, key=_position)
    found: list[float] = []
    earliest = math.inf
    for position in reversed(list(positions)):
        while answered and answered[-1][0] > position:
            earliest = min(earliest, answered.pop()[1].returned_at)
        found.append(earliest)
    return found[::-1]


def _position(placed: Placed) -> int:
    return placed[0]
