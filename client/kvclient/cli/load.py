"""A load on the store: so many calls in flight, for so long, and how long each took.

The workers share the clients; each has one call in flight and makes the next one when it is answered. Times go into a
histogram whose buckets grow by a fixed factor: its memory does not grow with the load, its percentiles are right to a
hundredth or so.
"""

import asyncio
import math
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from kvclient.async_client import AsyncClient
from kvclient.errors import KvError
from kvclient.transaction import Compare, Put

__all__ = ["KEY_PREFIX", "KINDS", "Histogram", "Load", "Report"]

KINDS: Final = ("put", "get", "mixed", "txn")
KEY_PREFIX: Final = "bench/"
ERROR_PAUSE_S: Final = 0.02  # lest an error that comes at once makes a worker spin

_FACTOR: Final = 1.02
_LOG_FACTOR: Final = math.log(_FACTOR)
_SMALLEST_S: Final = 1e-6


class Histogram:
    """Durations in seconds, from a microsecond up."""

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self.max_s = 0.0
        self._buckets: Counter[int] = Counter()

    def add(self, duration_s: float) -> None:
        """One more."""
        self.count += 1
        self.total_s += duration_s
        self.max_s = max(self.max_s, duration_s)
        self._buckets[int(math.log(max(duration_s, _SMALLEST_S) / _SMALLEST_S) / _LOG_FACTOR)] += 1

    def percentile(self, percent: float) -> float:
        """The duration that so many percent do not exceed; 0 if there are none."""
        wanted = self.count * percent / 100
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(_SMALLEST_S * _FACTOR ** (bucket + 1), self.max_s)
        return self.max_s

    @property
    def mean_s(self) -> float:
        """0 if there are none."""
        return self.total_s / self.count if self.count else 0.0

    def rows(self) -> Iterator[tuple[float, int]]:
        """For people: (upper bound, how many), each bound twice the one before, without the empty ends."""
        coarse: Counter[int] = Counter()
        for bucket, count in self._buckets.items():
            coarse[math.ceil((bucket + 1) * _LOG_FACTOR / math.log(2))] += count
        if coarse:
            for power in range(min(coarse), max(coarse) + 1):
                yield _SMALLEST_S * 2.0**power, coarse[power]


@dataclass(slots=True)
class Report:
    """What a load did: calls that succeeded, their times, and errors by name."""

    elapsed_s: float = 0.0
    times: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    last_error: KvError | None = None

    @property
    def per_second(self) -> float:
        """Calls that succeeded."""
        return self.times.count / self.elapsed_s if self.elapsed_s else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """``kind`` is one of KINDS. ``inflight`` calls are under way at any time, over ``conns`` clients."""

    kind: str
    conns: int
    inflight: int
    value_size: int
    keys: int
    duration_s: float
    make_client: Callable[[], AsyncClient]

    async def run(self, report: Report, *, fill_first: Callable[[int], None] | None = None) -> None:
        """Adds to the report while it runs. ``fill_first``: the keys are put before, and each one is told there."""
        value = os.urandom(self.value_size)
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(self.make_client()) for _ in range(self.conns)]
            if fill_first is not None:
                await self._fill(clients, value, fill_first)
            began = time.perf_counter()
            workers = (
                self._work(clients[number % len(clients)], value, number, began, report)
                for number in range(self.inflight)
            )
            await asyncio.gather(*workers)
            report.elapsed_s = time.perf_counter() - began

    async def _fill(self, clients: list[AsyncClient], value: bytes, tell: Callable[[int], None]) -> None:
        """Raises the first KvError: a store that cannot be filled is not measured."""
        left = iter(range(self.keys))

        async def put(client: AsyncClient) -> None:
            for number in left:
                await client.put(_key(number), value)
                tell(1)

        await asyncio.gather(*(put(clients[number % len(clients)]) for number in range(self.inflight)))

    async def _work(self, client: AsyncClient, value: bytes, number: int, began: float, report: Report) -> None:
        chance = random.Random(number)  # noqa: S311  # spreads the load
        act = self._act(client, value, chance)
        end = began + self.duration_s
        before = time.perf_counter()
        while before < end:
            try:
                await act(_key(int(chance.random() * self.keys)))
            except KvError as error:
                report.errors[type(error).__name__] += 1
                report.last_error = error
                await asyncio.sleep(ERROR_PAUSE_S)
                before = time.perf_counter()
            else:
                now = time.perf_counter()
                report.times.add(now - before)
                report.elapsed_s = now - began
                before = now

    def _act(self, client: AsyncClient, value: bytes, chance: random.Random) -> Callable[[bytes], Awaitable[object]]:
        def put(key: bytes) -> Awaitable[object]:
            return client.put(key, value)

        def get(key: bytes) -> Awaitable[object]:
            return client.get(key)

        def mixed(key: bytes) -> Awaitable[object]:
            return put(key) if chance.random() < 0.5 else get(key)

        def txn(key: bytes) -> Awaitable[object]:
            return client.txn().when(Compare.exists(key)).then(Put(key, value)).otherwise(Put(key, b"")).commit()

        return {"put": put, "get": get, "mixed": mixed, "txn": txn}[self.kind]


def _key(number: int) -> bytes:
    return b"%s%08d" % (KEY_PREFIX.encode(), number)
