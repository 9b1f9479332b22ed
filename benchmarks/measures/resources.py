"""What a cluster uses: processor time when idle, commits for each put."""

import re
import time
from typing import Any, Final

from benchmarks.drivers import Driver
from benchmarks.errors import BenchmarkError
from benchmarks.measures.loads import steady
from benchmarks.sizes import Sizes
from benchmarks.stores import KvStore
from benchmarks.stores.etcd_api import revision_of
from benchmarks.usage import cpu_s

__all__ = ["commits_per_put", "idle_percent", "logged_commits"]

_SETTLES_S: Final = 2.0


def idle_percent(store: KvStore, sizes: Sizes) -> dict[str, float]:
    """Percent of a core that each node uses while nobody asks anything."""
    time.sleep(_SETTLES_S)
    before, began = {i: cpu_s(store.pid(i)) for i in store.node_ids}, time.monotonic()
    time.sleep(sizes.idle_s)
    seconds = time.monotonic() - began
    return {str(i): (cpu_s(store.pid(i)) - before[i]) / seconds * 100 for i in store.node_ids}


def commits_per_put(store: KvStore, driver: Driver, sizes: Sizes) -> dict[str, Any]:
    """Of a cluster that has done nothing before; it is stopped, because nodes tell their commits when they stop.

    Counts all of them, those of the start and of heartbeats' housekeeping too.
    """
    outcome = driver.load(steady("put", sizes, in_flight=max(sizes.in_flight)))
    puts = revision_of(store.endpoint(store.node_ids[0])) - 1
    driver.close()
    store.stop()
    commits = {i: logged_commits(store.log_path(i).read_text(errors="replace")) for i in store.node_ids}
    return {
        "in_flight": max(sizes.in_flight),
        "puts": puts,
        "answered": outcome.done,
        "commits": {str(i): number for i, number in commits.items()},
        "per_put": {str(i): number / puts for i, number in commits.items()},
    }


def logged_commits(log: str) -> int:
    """What the node said when it stopped."""
    found = re.findall(r"stopped: (\d+) commits since the start", log)
    if not found:
        raise BenchmarkError("a node did not tell its commits: was it stopped by force?\n" + log[-2000:])
    return int(found[-1])
