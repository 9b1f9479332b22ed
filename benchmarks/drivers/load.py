"""The loops that put load on a store: the same for every client library.

A closed loop: ``in_flight`` callers for each client, each of which calls again as soon as it is answered. What is
counted is what is answered after the warm-up and before the end. An open loop, for failovers: a call begins every few
milliseconds, whether or not earlier ones are answered, so that a silence of the store is seen as long as it is.
"""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Protocol

from benchmarks.stats import percentile

__all__ = ["Blocking", "Connection", "Load", "Outcome", "Probe", "async_load", "fill", "key_name", "thread_load"]

_AFTER_ERROR_S: Final = 0.01
_PROBES_MAX: Final = 500
_FILL_AT_ONCE: Final = 100
_FILL_TRIES: Final = 10
_FILL_PAUSE_S: Final = 0.2


class Connection(Protocol):
    """One asyncio client. Keys are numbers here: libraries differ in how they like them."""

    async def put(self, key: int, value: bytes) -> None: ...
    async def get(self, key: int) -> None: ...
    async def put_many(self, first: int, count: int, value: bytes) -> None: ...
    async def close(self) -> None: ...


class Blocking(Protocol):
    """One blocking client, shared by threads."""

    def put(self, key: int, value: bytes) -> None: ...
    def get(self, key: int) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """``in_flight`` calls at once by each of ``clients`` clients, on keys drawn evenly from ``keys``."""

    kind: Literal["put", "get"]
    in_flight: int
    clients: int = 1
    seconds: float
    warmup_s: float
    keys: int
    value_bytes: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``done`` counts every answered call, those of the warm-up and of the end included, for who divides by it."""

    per_second: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    done: int
    errors: dict[str, int]
    error_examples: dict[str, str]
    """What the first error of each kind said."""
    client_cpu_us: float
    """Processor time of the load generator for each call."""


class _Tally:
    """Latencies and errors of one load. Threads share it: appending to a list needs no lock."""

    def __init__(self, load: Load) -> None:
        self.begin = time.perf_counter()
        self.count_from = self.begin + load.warmup_s
        self.end = self.count_from + load.seconds
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.latencies: list[float] = []
        self.done = 0
        self._seconds = load.seconds
        self._cpu = time.process_time()

    def failed(self, error: Exception) -> None:
        kind = type(error).__name__
        self.errors[kind] += 1
        self.examples.setdefault(kind, str(error))

    def outcome(self, done: int) -> Outcome:
        ordered = sorted(self.latencies)
        return Outcome(
            per_second=len(ordered) / self._seconds,
            p50_ms=percentile(ordered, 50) * 1000,
            p99_ms=percentile(ordered, 99) * 1000,
            worst_ms=percentile(ordered, 100) * 1000,
            done=done,
            errors=dict(self.errors),
            error_examples=self.examples,
            client_cpu_us=(time.process_time() - self._cpu) / max(1, done) * 1e6,
        )


async def async_load(connections: Sequence[Connection], load: Load) -> Outcome:
    tally = _Tally(load)
    value = b"v" * load.value_bytes

    async def caller(connection: Connection) -> int:
        now, done = time.perf_counter(), 0
        chance, keys, end, count_from = random.random, load.keys, tally.end, tally.count_from
        put, get, is_put, answered = connection.put, connection.get, load.kind == "put", tally.latencies.append
        while now < end:
            began = now
            try:
                if is_put:
                    await put(int(chance() * keys), value)
                else:
                    await get(int(chance() * keys))
            except Exception as error:  # libraries raise what they like: all of it is counted
                tally.failed(error)
                await asyncio.sleep(_AFTER_ERROR_S)
                now = time.perf_counter()
                continue
            now = time.perf_counter()
            done += 1
            if count_from < now <= end:
                answered(now - began)
        return done

    callers = [caller(connection) for connection in connections for _ in range(load.in_flight)]
    return tally.outcome(sum(await asyncio.gather(*callers)))


def thread_load(client: Blocking, load: Load) -> Outcome:
    """The callers are threads."""
    tally = _Tally(load)
    value = b"v" * load.value_bytes
    done = [0] * load.in_flight

    def caller(number: int) -> None:
        chance = random.Random(number)
        now = time.perf_counter()
        while now < tally.end:
            began = now
            try:
                if load.kind == "put":
                    client.put(chance.randrange(load.keys), value)
                else:
                    client.get(chance.randrange(load.keys))
            except Exception as error:
                tally.failed(error)
                time.sleep(_AFTER_ERROR_S)
                now = time.perf_counter()
                continue
            now = time.perf_counter()
            done[number] += 1
            if tally.count_from < now <= tally.end:
                tally.latencies.append(now - began)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(load.in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally.outcome(sum(done))


async def fill(connections: Sequence[Connection], *, keys: int, value_bytes: int, in_flight: int) -> float:
    """Puts each of the keys once, many at a time in whatever way the library is best at. Returns keys a second."""
    value = b"v" * value_bytes
    starts = iter(range(0, keys, _FILL_AT_ONCE))
    began = time.perf_counter()

    async def filler(connection: Connection) -> None:
        for first in starts:
            for tries_left in reversed(range(_FILL_TRIES)):
                try:
                    await connection.put_many(first, min(_FILL_AT_ONCE, keys - first), value)
                except Exception:  # libraries raise what they like; a put may be done twice
                    if not tries_left:
                        raise
                    await asyncio.sleep(_FILL_PAUSE_S)
                else:
                    break

    await asyncio.gather(*(filler(connections[n % len(connections)]) for n in range(in_flight)))
    return keys / (time.perf_counter() - began)


class Probe:
    """Begins a put every ``every_s``, on the connections in turn, until ``stop``, which tells when each was answered.

    Times are of the system's monotonic clock, which all processes share.
    """

    def __init__(self, connections: Sequence[Connection], *, every_s: float, value_bytes: int) -> None:
        self._connections = connections
        self._every_s = every_s
        self._value = b"v" * value_bytes
        self._answered: list[float] = []
        self._waiting: set[asyncio.Task[None]] = set()
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> list[float]:
        self._running.cancel()
        for task in tuple(self._waiting):
            task.cancel()
        await asyncio.gather(self._running, *self._waiting, return_exceptions=True)
        return sorted(self._answered)

    async def _run(self) -> None:
        number = 0
        while True:
            if len(self._waiting) < _PROBES_MAX:
                connection = self._connections[number % len(self._connections)]
                task = asyncio.get_running_loop().create_task(self._probe(connection, number))
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)
                number += 1
            await asyncio.sleep(self._every_s)

    async def _probe(self, connection: Connection, number: int) -> None:
        try:
            await connection.put(number % 1_000, self._value)
        except Exception:  # what is not answered leaves a gap: that is the measurement
            return
        self._answered.append(time.monotonic())


def key_name(number: int) -> bytes:
    return b"key-%09d" % number
