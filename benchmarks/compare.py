"""``python -m benchmarks.compare``: the same load on this store and on others, in one run, in alternating rounds.

All clusters run throughout, so that a round of one follows a round of another within seconds; those that are not asked
are idle, and what that costs they cost each other alike. What is not installed is named and left out: nothing is
installed from here. See the package's docstring.
"""

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from kvclient import KvError
from rich.console import Console
from rich.table import Table

from benchmarks import charts, page
from benchmarks.errors import BenchmarkError
from benchmarks.figures import Bench, five_nodes, many_keys, under_overload
from benchmarks.goals import OURS, verdicts
from benchmarks.measures.failover import gaps
from benchmarks.measures.loads import alternate, rotated, steady
from benchmarks.measures.scale import footprint, restarts
from benchmarks.measures.unary import h2load_is_installed, unary_puts
from benchmarks.results import RESULTS, Results, circumstances
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.stats import median
from benchmarks.steps import Steps, wide_console
from benchmarks.stores import Etcd, KvStore, PySyncObj, Store, ZooKeeper
from kvstore.server.local_cluster import ClusterError

__all__ = ["PARTS", "Peer", "main", "missing", "section"]

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Peer:
    """``kind`` is its load generator's. Reads of some are not linearizable, or not calls at all."""

    name: str
    make: Callable[[Path], Store]
    kind: str
    module: str
    package: str
    version: Callable[[], str | None]
    reads: bool = True


PEERS: Final = (
    Peer("etcd", Etcd, "aetcd", "aetcd", "etcd-server (Debian) and aetcd", Etcd.version),
    Peer("zookeeper", ZooKeeper, "kazoo", "kazoo", "zookeeper (Debian) and kazoo", ZooKeeper.version),
    Peer("pysyncobj", PySyncObj, "pysyncobj", "pysyncobj", "pysyncobj", PySyncObj.version, reads=False),
)


def missing() -> list[str]:
    """What a full comparison would need, and is not installed."""
    found = [peer.package for peer in PEERS if not _is_here(peer)]
    if importlib.util.find_spec("etcd3") is None:
        found.append("etcd3 (python-etcd3)")
    if not h2load_is_installed():
        found.append("h2load (Debian: nghttp2-client)")
    if not charts.can_draw():
        found.append("matplotlib, for the charts")
    return found


def _is_here(peer: Peer) -> bool:
    return importlib.util.find_spec(peer.module) is not None and peer.version() is not None


def _etcd_is_here() -> bool:
    return shutil.which("etcd") is not None


# The parts of a run: each a function that adds to the figures.


def loads(bench: Bench) -> Figures:
    """Puts and gets from Python, asynchronous, by everybody."""
    sizes, found = bench.sizes, {}
    with ExitStack() as stack:
        drivers = {OURS: stack.enter_context(_driver(bench, stack, KvStore(bench.path(OURS)), "kvclient"))}
        for peer in filter(_is_here, PEERS):
            bench.steps.step(f"starting {peer.name}")
            drivers[peer.name] = stack.enter_context(_driver(bench, stack, peer.make(bench.path(peer.name)), peer.kind))
        for name, driver in drivers.items():
            bench.steps.step(f"warming up {name}")
            driver.load(steady("put", sizes, in_flight=max(sizes.in_flight)))
            driver.fill(keys=sizes.keys, value_bytes=sizes.value_bytes)
        readers = {name: driver for name, driver in drivers.items() if name not in _unread()}
        for kind, who in (("put", drivers), ("get", readers)):
            for in_flight in sizes.in_flight:
                load = steady(kind, sizes, in_flight=in_flight)
                found[f"{kind}-{in_flight}"] = alternate(
                    who,
                    dict.fromkeys(who, load),
                    rounds=sizes.rounds,
                    steps=bench.steps,
                    what=f"{kind}s, {in_flight} in flight",
                )
    return found


def _unread() -> set[str]:
    return {peer.name for peer in PEERS if not peer.reads}


def _driver(bench: Bench, stack: ExitStack, store: Store, kind: str) -> Any:
    stack.enter_context(store)
    return bench.driver(kind, store.leader_first())


def blocking(bench: Bench) -> Figures:
    """Puts by threads that share one client."""
    kinds = {OURS: (KvStore, "kvclient-sync")}
    if _etcd_is_here() and importlib.util.find_spec("etcd3"):
        kinds["etcd"] = (Etcd, "etcd3")  # type: ignore[assignment]
    load = steady("put", bench.sizes, in_flight=bench.sizes.sync_threads)
    with ExitStack() as stack:
        drivers = {
            name: stack.enter_context(_driver(bench, stack, make(bench.path(name)), kind))
            for name, (make, kind) in kinds.items()
        }
        rounds = alternate(
            drivers, dict.fromkeys(drivers, load), rounds=bench.sizes.rounds, steps=bench.steps, what="puts by threads"
        )
    return {"sync": rounds}


def wire(bench: Bench) -> Figures:
    """Puts as gRPC calls, from a load generator in C."""
    if not h2load_is_installed():
        return {}
    with ExitStack() as stack:
        stores = {store.name: store for store in _ours_and_etcd(bench, stack)}
        found: dict[str, list[Any]] = {name: [] for name in stores}
        for number in range(bench.sizes.rounds):
            for name in rotated(list(stores), number=number):
                bench.steps.step(f"round {number + 1} of {bench.sizes.rounds}, {name}")
                found[name].append(unary_puts(stores[name], bench.sizes))
    return {"unary": found}


def kills(bench: Bench) -> Figures:
    """The leader dies."""
    kinds = {OURS: "kvclient", "etcd": "aetcd"}
    with ExitStack() as stack:
        stores = _ours_and_etcd(bench, stack)
        contestants = {
            store.name: (store, stack.enter_context(bench.driver(kinds[store.name], store.endpoints)))
            for store in stores
        }
        return {"gaps": gaps(contestants, bench.sizes, steps=bench.steps)}


def size(bench: Bench) -> Figures:
    """Many keys: etcd first and then this store, which is then compared with itself too."""
    found: Figures = {}
    if _etcd_is_here():
        with ExitStack() as stack:
            store = stack.enter_context(Etcd(bench.path("etcd")))
            with bench.driver("aetcd", store.leader_first()) as driver:
                bench.steps.step(f"filling {bench.sizes.keys_many:,} keys: etcd")
                found["etcd"] = footprint(store, driver, bench.sizes)
            found["etcd"] |= restarts(store, bench.sizes, steps=bench.steps)
    data = many_keys(bench)
    rounds = data.pop("rounds")
    return {"keys": {OURS: data, **found}, "many": {"rounds": rounds}}


def itself(bench: Bench) -> Figures:
    """More nodes, and more clients than can be served."""
    return {"nodes": five_nodes(bench), "overload": under_overload(bench)}


def _ours_and_etcd(bench: Bench, stack: ExitStack) -> list[Store]:
    stores: list[Store] = [stack.enter_context(KvStore(bench.path(OURS)))]
    if _etcd_is_here():
        stores.append(stack.enter_context(Etcd(bench.path("etcd"))))
    return stores


PARTS: Final[dict[str, Callable[[Bench], Figures]]] = {
    "loads": loads,
    "blocking": blocking,
    "wire": wire,
    "kills": kills,
    "size": size,
    "itself": itself,
}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Just this part; may be repeated.")
@click.option("--quick", is_flag=True, help="A first look at small sizes.")
@click.option(
    "--scratch",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Where the nodes' disks are; the system's temporary directory by default.",
)
@click.option("--render", is_flag=True, help="Measure nothing: write page and charts from the stored results.")
def main(only: tuple[str, ...], quick: bool, scratch: Path | None, render: bool) -> None:
    """Compare with etcd, ZooKeeper and PySyncObj, whichever are installed.

    A whole run at full size writes the page, the charts and compare.json; anything less is a trial, and leaves the
    page alone.
    """
    console = wide_console()
    for what in missing():
        console.print(f"not installed, and left out: {what}", style="yellow")
    whole = not (only or quick)
    path = RESULTS / ("compare.json" if whole else "compare-trial.json")
    failed = False
    if render:
        if not path.exists():
            raise click.ClickException(f"there are no results in {path.name} yet")
        results = Results.read(path)
    else:
        results, failed = _run(only, QUICK if quick else FULL, path, scratch, console)
    figures = {name: figure["data"] for name, figure in results.figures.items()}
    console.print(_table(figures))
    if whole and not failed:
        if charts.can_draw():
            charts.draw(figures)
        page.write_section("comparison", section(results))
    sys.exit(failed)


def _run(
    only: tuple[str, ...], sizes: Sizes, path: Path, scratch: Path | None, console: Console
) -> tuple[Results, bool]:
    failed = False
    versions = {peer.name: peer.version() or "" for peer in PEERS if peer.name != "pysyncobj" and _is_here(peer)}
    if "zookeeper" in versions:
        versions["java"] = ZooKeeper.java_version()
    results = Results(path, circumstances(sizes, versions), merge=False)
    names = [name for name in PARTS if not only or name in only]
    with (
        tempfile.TemporaryDirectory(prefix="kv-compare-", dir=scratch) as directory,
        Steps(console, total=len(names)) as steps,
    ):
        for name in names:
            bench = Bench(sizes=sizes, scratch=Path(directory) / name, steps=steps)
            bench.scratch.mkdir()
            steps.figure(name)
            try:
                for figure, data in PARTS[name](bench).items():
                    results.add(figure, data)
            except (BenchmarkError, ClusterError, KvError) as error:
                console.print(f"{name}: not measured: {error}", style="red", markup=False)
                failed = True
            shutil.rmtree(bench.scratch, ignore_errors=True)
    return results, failed


def section(results: Results) -> str:
    """What the page says of these results."""
    figures = {name: figure["data"] for name, figure in results.figures.items()}
    rows = [
        (v.row.what, v.row.peer, "not measured", "", "", str(v.row.must), "" if v.row.aim is None else str(v.row.aim))
        if v.seen is None
        else (
            v.row.what,
            v.row.peer,
            v.seen.text(v.seen.ours),
            v.seen.text(v.seen.theirs),
            v.seen.ratio_text(),
            v.said(v.row.must),
            v.said(v.row.aim),
        )
        for v in verdicts(figures)
    ]
    sizes = results.around["sizes"]
    parts = [
        page.around_text(results.around, results.when())
        + f"\nMany keys are {sizes['keys_many']:,}; the leader was killed {sizes['kills']} times each. "
        "In parentheses: the least and the greatest ratio of a single round.",
        page.markdown_table(("what", "against", "kvstore", "other", "ratio", "must", "aim"), rows),
        "All loads from Python, calls a second, and the p50 in ms:",
        _loads_table(figures),
        *(
            f"![{title}](charts/{name})"
            for name, title in (("throughput.svg", "Calls a second"), ("failover.svg", "Gaps after a kill"))
            if (charts.CHARTS / name).exists()
        ),
        "The raw results are in `benchmarks/results/compare.json`.",
    ]
    return "\n\n".join(part for part in parts if part)


def _loads_table(figures: Figures) -> str:
    names = [OURS, *(peer.name for peer in PEERS if any(peer.name in data for data in figures.values()))]
    rows = []
    for load in (name for name in figures if name.startswith(("put-", "get-"))):
        kind, _, in_flight = load.partition("-")
        cells = []
        for name in names:
            outcomes = figures[load].get(name)
            if outcomes is None:
                cells.append("–")
                continue
            per_second, p50 = (median([one[k] for one in outcomes]) for k in ("per_second", "p50_ms"))
            cells.append(f"{per_second:,.0f} ({p50:.2f})")
        rows.append((f"{kind}s, {in_flight} in flight", *cells))
    return page.markdown_table(("load", *names), rows) if rows else ""


def _table(figures: Figures) -> Table:
    table = Table("what", "against", "kvstore", "other", "ratio", "must", "aim", title="kvstore and others")
    for verdict in verdicts(figures):
        row, seen = verdict.row, verdict.seen
        if seen is None:
            table.add_row(row.what, row.peer, "not measured", style="dim")
            continue
        texts = (seen.text(seen.ours), seen.text(seen.theirs), seen.ratio_text())
        said = (verdict.said(row.must).replace("**", ""), verdict.said(row.aim).replace("**", ""))
        table.add_row(row.what, row.peer, *texts, *said, style="green" if verdict.met(row.must) else "red")
    return table


if __name__ == "__main__":
    main()
