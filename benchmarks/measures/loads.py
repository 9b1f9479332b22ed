"""Throughput and latency under a steady load, in alternating rounds over whatever is compared."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmarks.drivers import Driver, Load
from benchmarks.drivers.load import Outcome
from benchmarks.sizes import Sizes
from benchmarks.steps import Steps
from benchmarks.stores import Store
from benchmarks.usage import cpu_s

__all__ = ["Rounds", "alternate", "processor_time", "rotated", "steady"]

Rounds = dict[str, list[dict[str, Any]]]
"""By the name of what is compared, an outcome for each round."""


def steady(kind: str, sizes: Sizes, *, in_flight: int, clients: int = 1, keys: int | None = None) -> Load:
    assert kind in ("put", "get")
    return Load(
        kind="put" if kind == "put" else "get",
        in_flight=in_flight,
        clients=clients,
        seconds=sizes.seconds,
        warmup_s=sizes.warmup_s,
        keys=sizes.keys if keys is None else keys,
        value_bytes=sizes.value_bytes,
    )


def rotated(names: list[str], *, number: int) -> list[str]:
    """A different one begins in each round: whoever follows may find a warmer or a busier machine."""
    turn = number % len(names)
    return names[turn:] + names[:turn]


def alternate(
    drivers: Mapping[str, Driver], loads: Mapping[str, Load], *, rounds: int, steps: Steps, what: str
) -> Rounds:
    """The load of each name by its driver, one after the other, ``rounds`` times."""
    found: Rounds = {name: [] for name in drivers}
    for number in range(rounds):
        for name in rotated(list(drivers), number=number):
            steps.step(f"{what}: round {number + 1} of {rounds}, {name}")
            found[name].append(asdict(drivers[name].load(loads[name])))
    return found


def processor_time(store: Store, driver: Driver, load: Load) -> tuple[Outcome, dict[str, float]]:
    """What the load came to, and the processor time in µs that each call took of each node."""
    before = {node_id: cpu_s(store.pid(node_id)) for node_id in store.node_ids}
    outcome = driver.load(load)
    after = {node_id: cpu_s(store.pid(node_id)) for node_id in store.node_ids}
    return outcome, {
        str(node_id): (after[node_id] - before[node_id]) / max(1, outcome.done) * 1e6 for node_id in store.node_ids
    }
