"""``kv-sim check``: many seeds under every fault, in search of one that breaks a law."""

import json
import sys
import time
from collections.abc import Sequence
from itertools import count, islice
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kvstore.testing.cli.minimize import minimize
from kvstore.testing.cli.options import EXIT_BROKEN, FAULTS, fault_name, plain_console, version
from kvstore.testing.cli.seeds import SeedResult, config_of, in_order, processes_by_default, run_seed
from kvstore.testing.cli.tally import Tally
from kvstore.testing.sim import FaultKind

__all__ = ["check"]

_SIZES: Final = (3, 5, 5, 7)


class _Numbers(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    name = "numbers"

    def __init__(self, *, least: int, most: int) -> None:
        self._least, self._most = least, most

    def convert(
        self, value: str | Sequence[int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if not isinstance(value, str):
            return tuple(value)
        if not value:
            return ()
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers such as 3,5,7", param, ctx)
        if not all(self._least <= number <= self._most for number in numbers):
            self.fail(f"{value!r}: each must be from {self._least} to {self._most}", param, ctx)
        return numbers


@click.command(
    epilog="""\b
Examples:
  kv-sim check --seeds 1000
      a thousand runs with three, five or seven nodes
  kv-sim check --seeds 5000 --fired-min 100 --jobs 8
      and every kind of fault must have struck at least a hundred times
  kv-sim check --from 4711 --seeds 1 --minimize
      one seed; if it fails, with as few faults as it takes
  kv-sim check --faults crash,power-loss --nodes 3
      only these faults, only three nodes"""
)
@click.option("--seeds", type=click.IntRange(min=1), default=1000, show_default=True, help="How many.")
@click.option("--from", "first", type=int, default=1, show_default=True, help="The first of them.")
@click.option("--jobs", type=click.IntRange(min=1), help="How many processes.  [default: one for each CPU]")
@click.option(
    "--nodes",
    type=_Numbers(least=1, most=9),
    default=_SIZES,
    metavar="N,…",
    help="The cluster sizes to draw from.  [default: 3,5,5,7]",
)
@click.option(
    "--faults", type=FAULTS, default="all", metavar="none|all|LIST", show_default=True, help="Those there are."
)
@click.option(
    "--plan",
    type=_Numbers(least=1, most=1_000_000),
    metavar="N,…",
    help="Of each seed's faults, only those numbered so.",
)
@click.option("--fired-min", type=click.IntRange(min=0), default=0, help="Fail where a fault fired less often.")
@click.option("--minimize", "shrink", is_flag=True, help="After a failure, find the fewest faults that it takes.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def check(
    context: click.Context,
    *,
    seeds: int,
    first: int,
    jobs: int | None,
    nodes: tuple[int, ...],
    faults: tuple[FaultKind, ...],
    plan: tuple[int, ...] | None,
    fired_min: int,
    shrink: bool,
    output: str,
) -> None:
    """Run many seeds with faults, every law checked at every step, and stop at the first that breaks one.

    A failure tells the seed, the law, the last events and the command that replays it.
    """
    began = time.monotonic()
    tally = Tally(faults)
    failed: SeedResult | None = None
    work = ((seed, nodes, faults, plan) for seed in islice(count(first), seeds))
    results = in_order(run_seed, work, processes=min(jobs or processes_by_default(), seeds))
    with _progress() as progress:
        task = progress.add_task("seeds", total=seeds, rate="")
        for result in results:
            tally.add(result)
            rate = (len(tally.reports)) / max(time.monotonic() - began, 1e-9)
            progress.update(task, advance=1, rate=f"{rate:.1f} seeds/s")
            if result.failure is not None:
                failed = result
                break
    results.close()  # type: ignore[attr-defined]
    command = _command(nodes, faults)
    lacking = tally.missing(fired_min=fired_min) if failed is None else []
    minimal = _shrink(failed, nodes, faults, plan) if failed is not None and shrink else plan
    if output == "json":
        _print_json(tally, failed, lacking, minimal, command)
    else:
        console = plain_console()
        tally.show(console, wall_s=time.monotonic() - began)
        for what in lacking:
            click.echo(f"too little: {what}")
        if failed is not None:
            _tell_failure(failed, nodes, faults, minimal, command)
        elif not lacking:
            console.print("[bold green]No law was broken.[/]")
    if failed is not None or lacking:
        context.exit(EXIT_BROKEN)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
    )


def _shrink(
    failed: SeedResult, nodes: tuple[int, ...], faults: tuple[FaultKind, ...], plan: tuple[int, ...] | None
) -> tuple[int, ...]:
    assert failed.failure is not None
    law, at = failed.failure.law, failed.failure.at

    def fails(numbers: tuple[int, ...]) -> bool:
        result = run_seed((failed.seed, nodes, faults, numbers))
        return result.failure is not None and result.failure.law == law

    # What would have struck later has no part in it.
    numbers = [fault.number for fault in config_of(failed.seed, nodes, faults, plan).plan if fault.at <= at]
    return minimize(numbers, fails)


def _command(nodes: tuple[int, ...], faults: tuple[FaultKind, ...]) -> str:
    parts = ["kv-sim check"]
    if nodes != _SIZES:
        parts.append(f"--nodes {','.join(map(str, nodes))}")
    if set(faults) != set(FaultKind):
        parts.append(f"--faults {','.join(map(fault_name, faults)) or 'none'}")
    return " ".join(parts)


def _replay(failed: SeedResult, command: str, plan: tuple[int, ...] | None) -> str:
    """The one command that does it again."""
    only = "" if plan is None else f" --plan {','.join(map(str, plan)) or repr('')}"
    return f"{command} --from {failed.seed} --seeds 1{only}"


def _tell_failure(
    failed: SeedResult,
    nodes: tuple[int, ...],
    faults: tuple[FaultKind, ...],
    plan: tuple[int, ...] | None,
    command: str,
) -> None:
    assert failed.failure is not None
    story = failed.failure.story
    if plan is not None:
        again = run_seed((failed.seed, nodes, faults, plan))
        story = again.failure.story if again.failure is not None else story
        click.echo(f"\n{len(plan)} faults are enough:" if plan else "\nIt takes no fault at all.")
        for fault in config_of(failed.seed, nodes, faults, plan).plan:
            click.echo(f"  {fault.number} {fault_name(fault.kind)} at {fault.at:.3f}: {fault}")
    click.echo(f"\n{story}\n\nIt is replayed by: {_replay(failed, command, plan)}")


def _print_json(
    tally: Tally, failed: SeedResult | None, lacking: list[str], plan: tuple[int, ...] | None, command: str
) -> None:
    found: dict[str, object] = {
        "version": version(),
        "ok": failed is None and not lacking,
        **tally.as_json(),
        "too_little": lacking,
    }
    if failed is not None and failed.failure is not None:
        found["failure"] = {
            "seed": failed.seed,
            "law": failed.failure.law,
            "detail": failed.failure.detail,
            "last_events": failed.failure.story,
            "replay": _replay(failed, command, plan),
        }
    click.echo(json.dumps(found, ensure_ascii=False, indent=2))
