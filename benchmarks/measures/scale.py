"""Many keys, and more nodes: what they cost."""

import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.drivers import Driver
from benchmarks.sizes import Sizes
from benchmarks.steps import Steps
from benchmarks.stores import Store
from benchmarks.stores.etcd_api import answers
from benchmarks.stores.port import wait_until
from benchmarks.usage import disk_bytes, memory

__all__ = ["footprint", "restart_all", "restart_one", "restarts"]

_SETTLES_S: Final = 3.0
_RESTARTS_S: Final = 240.0
_READ_S: Final = 0.25
"""How long one attempt at a read may take: what the restart's time is resolved to, at worst."""


def footprint(store: Store, driver: Driver, sizes: Sizes) -> dict[str, Any]:
    """Fills the store, and looks at what the keys then take."""
    per_second = driver.fill(keys=sizes.keys_many, value_bytes=sizes.value_bytes)
    time.sleep(_SETTLES_S)
    return {
        "keys": sizes.keys_many,
        "filled_per_second": per_second,
        "memory": {str(i): memory(store.pid(i)).as_dict() for i in store.node_ids},
        "disk_bytes": {str(i): disk_bytes(store.node_dir(i)) for i in store.node_ids},
    }


def restarts(store: Store, sizes: Sizes, *, steps: Steps) -> dict[str, Any]:
    """Seconds to the first read, in ``sizes.restarts`` rounds, and the memory afterwards."""
    one, every = [], []
    for number in range(sizes.restarts):
        steps.step(f"restart {number + 1} of {sizes.restarts}: {store.name}")
        one.append(restart_one(store))
        every.append(restart_all(store))
    return {
        "one_s": one,
        "all_s": every,
        "memory_after": {str(i): memory(store.pid(i)).as_dict() for i in store.node_ids},
    }


def restart_one(store: Store) -> float:
    """A follower is killed and started: until it answers a linearizable read itself."""
    leader = store.leader()
    follower = next(i for i in store.node_ids if i != leader)
    store.kill(follower)
    return _until_read(store, follower, lambda: store.restart(follower))


def restart_all(store: Store) -> float:
    """All nodes are killed at once, as by a power cut, and started: until a linearizable read is answered."""
    for node_id in store.node_ids:
        store.kill(node_id)

    def start() -> None:
        for node_id in store.node_ids:
            store.restart(node_id)

    seconds = _until_read(store, store.node_ids[0], start)
    store.wait_serving()
    return seconds


def _until_read(store: Store, node_id: int, start: Callable[[], None]) -> float:
    began = time.monotonic()
    start()

    def reads() -> bool:
        for each in store.node_ids:
            store.require_alive(each)
        return answers(store.endpoint(node_id), timeout_s=_READ_S)

    wait_until(
        reads,
        f"{store.name}'s node {node_id} answers no read",
        timeout_s=_RESTARTS_S,
    )
    return time.monotonic() - began
