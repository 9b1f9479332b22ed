"""``kv-sim connectivity``: whoever has a quorum makes progress, in every graph of a few nodes.

A cluster in which all is well and node 1 leads is cut down to the graph, at once and without any notice to the nodes.
From then on a client writes at every node that has a quorum. The first answer must come within four election timeouts,
each counted as the longest randomized one. Where nobody has a quorum, nobody may be answered.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import click
from rich.table import Table

from kvstore.paxos.types import NodeId
from kvstore.testing.cli.graphs import NAMED, Graph, all_graphs, parse, up_to_symmetry
from kvstore.testing.cli.options import EXIT_BROKEN, plain_console
from kvstore.testing.cli.seeds import in_order, processes_by_default
from kvstore.testing.cli.stage import Stage
from kvstore.testing.sim import LawBroken, WorldConfig
from kvstore.testing.sim.clients import probe

__all__ = ["GraphResult", "connectivity", "try_graph"]

_CONFIG = {"heartbeat_s": 0.1, "election_timeout_s": 0.5, "latency_s": 0.001, "commit_s": 0.001}


@dataclass(frozen=True, slots=True)
class GraphResult:
    """``progress_s`` is None where no client was answered; ``mistake`` says what should not be, or is empty."""

    graph: Graph
    progress_s: float | None
    bound_s: float
    leader_changes: int
    mistake: str


def try_graph(job: tuple[Graph, int]) -> GraphResult:
    graph, seed = job
    stage = Stage(seed, WorldConfig(nodes=graph.nodes, **_CONFIG))  # type: ignore[arg-type]
    world = stage.world
    bound_s = world.config.liveness_bound_s
    with_quorum = graph.with_quorum
    mistake = ""
    progress_s: float | None = None
    led = 0
    try:
        stage.start_with_leader(graph.leader)
        _let_fall_behind(stage, graph)
        led = len(stage.recorder.led)
        world.heal()
        world.connect_only(graph.lanes)
        cut_at = world.scheduler.now
        writers = with_quorum or tuple(range(1, graph.nodes + 1))
        if _is_answered(stage, "client", writers):
            progress_s = world.scheduler.now - cut_at
        if with_quorum and progress_s is None:
            mistake = f"no progress in {bound_s:g} s though {with_quorum} have a quorum"
        elif not with_quorum and progress_s is not None:
            mistake = "a client was answered though nobody has a quorum"
        elif progress_s is not None:
            # And it does not end, after a while of nothing but heartbeats.
            world.run_for(bound_s / 2)
            if not _is_answered(stage, "later", with_quorum):
                mistake = f"progress ended: no second answer in {bound_s:g} s though {with_quorum} have a quorum"
        world.check_histories()
    except LawBroken as broken:
        mistake = str(broken)
    return GraphResult(graph, progress_s, bound_s, len(stage.recorder.led) - led, mistake)


def _let_fall_behind(stage: Stage, graph: Graph) -> None:
    """What ``graph.behind`` miss is decided while they are cut off."""
    if not graph.behind:
        return
    for node in graph.behind:
        stage.world.isolate(node)
    for number in range(3):
        client = stage.put("before", graph.leader, "k", f"before {number}")
        stage.until("the others decide without them", lambda: client.done)  # noqa: B023  called at once


def _is_answered(stage: Stage, name: str, nodes: tuple[int, ...]) -> bool:
    """Whether a client of one of ``nodes`` is answered in time. Each asks again after an election timeout of silence,
    since a write that was forwarded over a cut link is lost, and nobody can tell."""
    world = stage.world
    clients = []
    for node in nodes:
        client = world.client(f"{name}{node}")
        client.run(probe(client, NodeId(node), timeout_s=world.config.election_timeout_s))
        clients.append(client)
    return world.run_until(lambda: any(client.done for client in clients), within_s=world.config.liveness_bound_s)


class _GraphType(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    name = "graph"

    def convert(self, value: str | Graph, param: click.Parameter | None, ctx: click.Context | None) -> Graph:
        if isinstance(value, Graph):
            return value
        if value in NAMED:
            return NAMED[value]
        try:
            return parse(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}; known by name: {', '.join(NAMED)}; else like 5:1-2,2-3,4>5", param, ctx)


@click.command(
    epilog="""\b
Examples:
  kv-sim connectivity
      all 1,024 symmetric graphs of five nodes and all 64 directed ones of three
  kv-sim connectivity --reduced
      one of each class that differs only in the numbering of those who do not lead
  kv-sim connectivity --graph quorum-loss
  kv-sim connectivity --graph 5:1-2,2-3,2-4,4>5"""
)
@click.option("--graph", "chosen", type=_GraphType(), help="Only this one: a name, or its links.")
@click.option("--reduced", is_flag=True, help="Leave out what is the same by symmetry.")
@click.option("--seed", type=int, default=1, show_default=True, help="All chance comes from it.")
@click.option("--jobs", type=click.IntRange(min=1), help="How many processes.  [default: one for each CPU]")
@click.pass_context
def connectivity(context: click.Context, *, chosen: Graph | None, reduced: bool, seed: int, jobs: int | None) -> None:
    """Cut a cluster down to every graph of a few nodes: where a node has a quorum, there must be progress."""
    began = time.monotonic()
    results: list[GraphResult] = []
    work = ((graph, seed) for graph in _graphs(chosen, reduced=reduced))
    for result in in_order(try_graph, work, processes=1 if chosen else jobs or processes_by_default()):
        results.append(result)
        if result.mistake:
            break
    _show(results, wall_s=time.monotonic() - began)
    last = results[-1]
    if last.mistake:
        name = last.graph.name or str(last.graph)
        click.echo(f"\n{name}: {last.mistake}\n\nIt is replayed by: kv-sim connectivity --graph '{name}' --seed {seed}")
        context.exit(EXIT_BROKEN)


def _graphs(chosen: Graph | None, *, reduced: bool) -> Iterator[Graph]:
    if chosen is not None:
        yield chosen
        return
    yield from NAMED.values()
    yield from up_to_symmetry(all_graphs()) if reduced else all_graphs()


def _show(results: list[GraphResult], *, wall_s: float) -> None:
    console = plain_console()
    table = Table(
        "graph",
        "with quorum",
        "graphs",
        "with progress",
        "median wait",
        "longest wait",
        "changes",
        title="Waits for progress after the links broke, in election timeouts, and changes of leader at most",
        title_justify="left",
    )
    groups: dict[tuple[str, str], list[GraphResult]] = {}
    for result in results:
        graph = result.graph
        named = graph.name or ("directed" if graph.nodes == 3 and ">" in str(graph) else "symmetric")
        quorum = " ".join(map(str, graph.with_quorum)) if graph.name else str(len(graph.with_quorum))
        groups.setdefault((f"{named}, {graph.nodes} nodes", quorum), []).append(result)
    for (name, quorum), group in sorted(groups.items(), key=lambda entry: (not entry[1][0].graph.name, entry[0])):
        waits = [4 * r.progress_s / r.bound_s for r in group if r.progress_s is not None]
        table.add_row(
            name,
            quorum,
            f"{len(group):,}",
            f"{len(waits):,}",
            f"{statistics.median(waits):.2f}" if waits else "–",
            f"{max(waits):.2f}" if waits else "–",
            str(max(r.leader_changes for r in group)),
        )
    console.print(table)
    broken = sum(bool(result.mistake) for result in results)
    verdict = (
        "[bold red]one is wrong[/]" if broken else "[bold green]wherever a node has a quorum, there was progress[/]"
    )
    console.print(f"{len(results):,} graphs in {wall_s:.1f} s: {verdict}")
