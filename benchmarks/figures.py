"""This store's own figures: how each is taken, and how it reads.

The last three compare the store with itself, and are part of the comparison with others too.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.drivers import Driver
from benchmarks.measures.failover import gaps
from benchmarks.measures.loads import alternate, processor_time, steady
from benchmarks.measures.overload import overload
from benchmarks.measures.resources import commits_per_put, idle_percent
from benchmarks.measures.scale import footprint, restarts
from benchmarks.measures.unary import h2load_is_installed, unary_puts
from benchmarks.sizes import Sizes
from benchmarks.stats import median, percentile, ratio_range
from benchmarks.steps import Steps
from benchmarks.stores import KvStore

__all__ = ["FIGURES", "Bench", "Figure", "Line", "five_nodes", "many_keys", "ratio_text", "under_overload"]

Data = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every figure needs. ``scratch`` is an empty directory, on the disk that is to be measured."""

    sizes: Sizes
    scratch: Path
    steps: Steps
    names: dict[str, int] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """A directory that nobody has used yet."""
        number = self.names[name] = self.names.get(name, 0) + 1
        return self.scratch / f"{name}-{number}"

    def driver(self, kind: str, endpoints: list[str]) -> Driver:
        return Driver(kind, endpoints, log=self.path(kind).with_suffix(".log"))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table. ``met`` is None where there is no goal."""

    what: str
    value: str
    goal: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    title: str
    measure: Callable[[Bench], Data]
    lines: Callable[[Data], list[Line]]
    missing: Callable[[], str | None] = lambda: None
    """What has to be installed first, if anything."""


# Loads


def steady_load(bench: Bench, kind: str) -> Data:
    sizes, found = bench.sizes, {}
    with KvStore(bench.path("kvstore")) as store, bench.driver("kvclient", store.endpoints) as driver:
        driver.fill(keys=sizes.keys, value_bytes=sizes.value_bytes)
        for in_flight in sizes.in_flight:
            what = f"{kind}s, {in_flight} in flight"
            load = steady(kind, sizes, in_flight=in_flight)
            rounds = alternate(
                {"kvstore": driver}, {"kvstore": load}, rounds=sizes.rounds, steps=bench.steps, what=what
            )
            found[str(in_flight)] = rounds["kvstore"]
    return found


def load_lines(kind: str) -> Callable[[Data], list[Line]]:
    def lines(data: Data) -> list[Line]:
        found = []
        for in_flight, rounds in data.items():
            per_second, p50, p99 = (median([one[k] for one in rounds]) for k in ("per_second", "p50_ms", "p99_ms"))
            value = f"{per_second:,.0f}/s; p50 {p50:.2f} ms, p99 {p99:.2f} ms"
            if (kind, in_flight) == ("put", "1"):
                found.append(Line(f"{kind}s, {in_flight} in flight", value, "p50 ≤ 4 ms", p50 <= 4))
            else:
                found.append(Line(f"{kind}s, {in_flight} in flight", value))
        return found

    return lines


# Resources


def commits(bench: Bench) -> Data:
    with KvStore(bench.path("kvstore")) as store, bench.driver("kvclient", store.endpoints) as driver:
        return commits_per_put(store, driver, bench.sizes)


def commit_lines(data: Data) -> list[Line]:
    worst = max(data["per_put"].values())
    each = ", ".join(f"{one:.4f}" for one in data["per_put"].values())
    return [Line(f"commits a put on each node, {data['in_flight']} in flight", each, "< 0.1", worst < 0.1)]


def processor(bench: Bench) -> Data:
    sizes, rounds = bench.sizes, []
    load = steady("put", sizes, in_flight=max(sizes.in_flight))
    with KvStore(bench.path("kvstore")) as store, bench.driver("kvclient", store.endpoints) as driver:
        leader = store.leader()
        for number in range(sizes.rounds):
            bench.steps.step(f"round {number + 1} of {sizes.rounds}")
            outcome, cpu_us = processor_time(store, driver, load)
            rounds.append({"leader": leader, "cpu_us": cpu_us, "client_cpu_us": outcome.client_cpu_us})
    return {"in_flight": load.in_flight, "rounds": rounds}


def processor_lines(data: Data) -> list[Line]:
    leader = str(data["rounds"][0]["leader"])
    at_leader = median([one["cpu_us"][leader] for one in data["rounds"]])
    at_others = median([us for one in data["rounds"] for node, us in one["cpu_us"].items() if node != leader])
    at_client = median([one["client_cpu_us"] for one in data["rounds"]])
    value = f"leader {at_leader:.0f} µs, follower {at_others:.0f} µs, client {at_client:.0f} µs"
    return [Line(f"processor time a put, {data['in_flight']} in flight", value)]


def idle(bench: Bench) -> Data:
    bench.steps.step(f"nothing happens for {bench.sizes.idle_s:g} s")
    with KvStore(bench.path("kvstore")) as store:
        return {"leader": store.leader(), "percent": idle_percent(store, bench.sizes)}


def idle_lines(data: Data) -> list[Line]:
    each = ", ".join(f"{one:.1f} %" for one in data["percent"].values())
    return [Line("idle, of a core, each node", each, "≤ 3 %", max(data["percent"].values()) <= 3)]


# Failover and the wire of etcd


def failover(bench: Bench) -> Data:
    with KvStore(bench.path("kvstore")) as store, bench.driver("kvclient", store.endpoints) as driver:
        return {"gaps_ms": gaps({"kvstore": (store, driver)}, bench.sizes, steps=bench.steps)["kvstore"]}


def failover_lines(data: Data) -> list[Line]:
    ordered = sorted(data["gaps_ms"])
    p50 = percentile(ordered, 50)
    value = f"p50 {p50:,.0f} ms, worst {ordered[-1]:,.0f} ms of {len(ordered)}"
    return [Line("writes stop after SIGKILL of the leader", value, "p50 ≤ 1 s", p50 <= 1000)]


def unary(bench: Bench) -> Data:
    rounds = []
    with KvStore(bench.path("kvstore")) as store:
        for number in range(bench.sizes.rounds):
            bench.steps.step(f"round {number + 1} of {bench.sizes.rounds}")
            rounds.append(unary_puts(store, bench.sizes))
    return {"rounds": rounds, "connections": bench.sizes.h2_connections, "streams": bench.sizes.h2_streams}


def unary_lines(data: Data) -> list[Line]:
    what = f"puts, one gRPC call each, h2load {data['connections']}×{data['streams']}"
    return [Line(what, f"{median([one['per_second'] for one in data['rounds']]):,.0f}/s")]


# The store against itself


def five_nodes(bench: Bench) -> Data:
    load = steady("put", bench.sizes, in_flight=max(bench.sizes.in_flight))
    with ExitStack() as stack:
        drivers = {}
        for nodes in (3, 5):
            store = stack.enter_context(KvStore(bench.path(f"nodes{nodes}"), nodes=nodes))
            drivers[str(nodes)] = stack.enter_context(bench.driver("kvclient", store.endpoints))
        loads = dict.fromkeys(drivers, load)
        return alternate(drivers, loads, rounds=bench.sizes.rounds, steps=bench.steps, what="puts, nodes")


def five_nodes_lines(data: Data) -> list[Line]:
    return [_against("puts, 5 nodes against 3", data, "5", "3", must=0.55)]


def many_keys(bench: Bench) -> Data:
    """One cluster with few keys and one with many; the second is then restarted again and again."""
    sizes = bench.sizes
    with ExitStack() as stack:
        few = stack.enter_context(KvStore(bench.path("few")))
        many = stack.enter_context(KvStore(bench.path("many")))
        drivers = {
            "few": stack.enter_context(bench.driver("kvclient", few.endpoints)),
            "many": stack.enter_context(bench.driver("kvclient", many.endpoints)),
        }
        bench.steps.step(f"filling {sizes.keys_many:,} keys")
        size = footprint(many, drivers["many"], sizes)
        drivers["few"].fill(keys=sizes.keys, value_bytes=sizes.value_bytes)
        in_flight = max(sizes.in_flight)
        loads = {
            "few": steady("put", sizes, in_flight=in_flight),
            "many": steady("put", sizes, in_flight=in_flight, keys=sizes.keys_many),
        }
        rounds = alternate(drivers, loads, rounds=sizes.rounds, steps=bench.steps, what="puts, keys")
        few.stop()
        return {**size, "keys_few": sizes.keys, "rounds": rounds, **restarts(many, sizes, steps=bench.steps)}


def many_keys_lines(data: Data) -> list[Line]:
    resident = max(one["resident"] for one in data["memory"].values())
    afterwards = max(one["resident"] for one in data["memory_after"].values())
    disk = max(data["disk_bytes"].values())
    keys = f"{data['keys']:,} keys"
    return [
        Line(f"{keys}: memory a node", f"{resident / 1e6:,.0f} MB; {afterwards / 1e6:,.0f} MB after a restart"),
        Line(f"{keys}: disk a node", f"{disk / 1e6:,.0f} MB"),
        Line(f"{keys}: filled", f"{data['filled_per_second']:,.0f} keys/s"),
        Line(f"{keys}: restart of a follower, to its first read", f"{median(data['one_s']):.2f} s"),
        Line(f"{keys}: restart of all nodes, to the first read", f"{median(data['all_s']):.2f} s"),
        _against(f"puts, {keys} against {data['keys_few']:,}", data["rounds"], "many", "few", must=0.8),
    ]


def under_overload(bench: Bench) -> Data:
    with KvStore(bench.path("kvstore")) as store, bench.driver("kvclient", store.endpoints) as driver:
        return overload(store, driver, bench.sizes, steps=bench.steps)


def overload_lines(data: Data) -> list[Line]:
    what = f"goodput with {data['factor']} times the {data['in_flight']} calls in flight that saturate it"
    worst = max(data["resident_worst_overloaded"].values())
    before = max(data["resident_worst_saturated"].values())
    return [
        _against(what, data, "overloaded", "saturated", must=0.7),
        Line("memory of the largest node then", f"{worst / 1e6:,.0f} MB; saturated {before / 1e6:,.0f} MB"),
    ]


def _against(what: str, data: Mapping[str, Any], ours: str, base: str, *, must: float) -> Line:
    one, other = ([round_["per_second"] for round_ in data[name]] for name in (ours, base))
    ratio = median(one) / median(other) if median(other) else float("nan")
    value = f"{median(one):,.0f}/s against {median(other):,.0f}/s: {ratio_text(ratio, ratio_range(one, other))}"
    return Line(what, value, f"≥ {must:g}×", ratio >= must)


def ratio_text(ratio: float, span: tuple[float, float]) -> str:
    """The ratio of the medians, and those of the rounds in parentheses."""
    return f"{ratio:.2f}× ({span[0]:.2f}–{span[1]:.2f})"


def _h2load_missing() -> str | None:
    return None if h2load_is_installed() else "h2load (Debian: nghttp2-client)"


FIGURES: Final[dict[str, Figure]] = {
    "puts": Figure("puts", lambda bench: steady_load(bench, "put"), load_lines("put")),
    "gets": Figure("linearizable gets", lambda bench: steady_load(bench, "get"), load_lines("get")),
    "commits": Figure("commits", commits, commit_lines),
    "cpu": Figure("processor time", processor, processor_lines),
    "idle": Figure("idle", idle, idle_lines),
    "gap": Figure("failover", failover, failover_lines),
    "unary": Figure("puts on etcd's wire", unary, unary_lines, _h2load_missing),
    "nodes": Figure("five nodes", five_nodes, five_nodes_lines),
    "keys": Figure("many keys", many_keys, many_keys_lines),
    "overload": Figure("overload", under_overload, overload_lines),
}
