"""More clients than can be served: what is still answered, and whether memory stays bounded.

Clients of ``IN_FLIGHT`` calls each are added; the fewest that reach nineteen twentieths of the most that is ever
reached saturate the store. Then ten times as many come. Goodput counts what is answered without an error, in the
clients' default time.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

from benchmarks.drivers import Driver
from benchmarks.drivers.load import Load
from benchmarks.measures.loads import steady
from benchmarks.sizes import Sizes
from benchmarks.steps import Steps
from benchmarks.stores import Store
from benchmarks.usage import memory

__all__ = ["overload", "saturating"]

IN_FLIGHT: Final = 32
_NEAR: Final = 0.95
_SAMPLE_S: Final = 0.1


def overload(store: Store, driver: Driver, sizes: Sizes, *, steps: Steps) -> dict[str, Any]:
    ramp: list[tuple[int, float]] = []
    for calls in sizes.overload_in_flight:
        steps.step(f"{calls} calls in flight")
        ramp.append((calls, driver.load(_load(calls, sizes)).per_second))
    saturated = saturating(ramp)
    peak, over = [], []
    before = _resident(store)
    with _watched(store) as worst_peak:
        for number in range(sizes.rounds):
            steps.step(f"round {number + 1} of {sizes.rounds}: {saturated} calls in flight")
            peak.append(asdict(driver.load(_load(saturated, sizes))))
    with _watched(store) as worst_over:
        for number in range(sizes.rounds):
            steps.step(f"round {number + 1} of {sizes.rounds}: {saturated * sizes.overload_factor} calls in flight")
            over.append(asdict(driver.load(_load(saturated * sizes.overload_factor, sizes))))
    return {
        "ramp": [{"in_flight": calls, "per_second": per_second} for calls, per_second in ramp],
        "in_flight": saturated,
        "factor": sizes.overload_factor,
        "saturated": peak,
        "overloaded": over,
        "resident_before": before,
        "resident_worst_saturated": worst_peak,
        "resident_worst_overloaded": worst_over,
        "resident_after": _resident(store),
    }


def saturating(ramp: list[tuple[int, float]]) -> int:
    """The fewest calls in flight that come near to the most that is reached."""
    best = max(per_second for _, per_second in ramp)
    return next(calls for calls, per_second in ramp if per_second >= best * _NEAR)


def _load(calls: int, sizes: Sizes) -> Load:
    return steady("put", sizes, in_flight=IN_FLIGHT, clients=max(1, calls // IN_FLIGHT))


def _resident(store: Store) -> dict[str, int]:
    return {str(i): memory(store.pid(i)).resident for i in store.node_ids}


@contextmanager
def _watched(store: Store) -> Iterator[dict[str, int]]:
    """The largest resident size of each node while it lasts."""
    worst = _resident(store)
    pids = {str(i): store.pid(i) for i in store.node_ids}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLE_S):
            for node_id, pid in pids.items():
                worst[node_id] = max(worst[node_id], memory(pid).resident)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield worst
    finally:
        over.set()
        watcher.join()
