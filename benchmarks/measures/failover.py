"""How long writes stop when the leader is killed.

A put begins every few milliseconds. The gap is the longest time between two answered ones, from just before the kill
until writes flow again. The clients are told all nodes, so what is seen is what users would see: the cluster's silence
and the client's way to the new leader.
"""

import time
from itertools import pairwise
from typing import Final

from benchmarks.drivers import Driver
from benchmarks.errors import BenchmarkError
from benchmarks.sizes import Sizes
from benchmarks.steps import Steps
from benchmarks.stores import Store

__all__ = ["gap_of", "gaps", "one_gap"]

EVERY_S: Final = 0.01
_BEFORE_S: Final = 0.5
_AFTER_MAX_S: Final = 30.0


def gaps(contestants: dict[str, tuple[Store, Driver]], sizes: Sizes, *, steps: Steps) -> dict[str, list[float]]:
    """The gaps in ms, of ``sizes.kills`` kills each, in turn."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(sizes.kills):
        for name, (store, driver) in contestants.items():
            steps.step(f"kill {number + 1} of {sizes.kills}: {name}")
            found[name].append(one_gap(store, driver, sizes) * 1000)
    return found


def one_gap(store: Store, driver: Driver, sizes: Sizes) -> float:
    """In seconds. The killed node is back, and the cluster settled, when it returns."""
    leader = store.leader()
    driver.begin_probe(every_s=EVERY_S, value_bytes=sizes.value_bytes)
    time.sleep(_BEFORE_S)
    killed = time.monotonic()
    store.kill(leader)
    time.sleep(sizes.watch_s)
    answered = driver.end_probe()
    while answered[-1:] < [killed + _BEFORE_S] and time.monotonic() < killed + _AFTER_MAX_S:
        driver.begin_probe(every_s=EVERY_S, value_bytes=sizes.value_bytes)
        time.sleep(_BEFORE_S)
        answered += driver.end_probe()
    store.restart(leader)
    store.wait_serving()
    time.sleep(sizes.settle_s)
    return gap_of(answered, killed=killed)


def gap_of(answered: list[float], *, killed: float) -> float:
    """The longest time between neighbours of which the later comes after the kill."""
    if not answered or answered[0] > killed:
        raise BenchmarkError("no put was answered before the leader was killed")
    if answered[-1] <= killed:
        raise BenchmarkError(f"no put was answered within {_AFTER_MAX_S:g} s of the leader's death")
    return max(later - earlier for earlier, later in pairwise(answered) if later > killed)
