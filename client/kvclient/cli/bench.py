"""``kv-client bench``: puts a load on the store and prints what it bore."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from kvclient.async_client import AsyncClient
from kvclient.cli.group import ExitCode, Settings, complain
from kvclient.cli.load import KEY_PREFIX, KINDS, Load, Report
from kvclient.cli.tables import print_table

__all__ = ["bench"]

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
BAR_WIDTH = 40
UPDATE_S = 0.1


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--conns", type=click.IntRange(1, 1024), default=1, show_default=True, metavar="N", help="Connections.")
@click.option(
    "--inflight",
    type=click.IntRange(1, 100_000),
    default=64,
    show_default=True,
    metavar="N",
    help="Calls under way at any time, over all connections.",
)
@click.option(
    "--value-size", type=click.IntRange(0, 1 << 20), default=256, show_default=True, metavar="N", help="Bytes."
)
@click.option(
    "--keys", type=click.IntRange(1, 100_000_000), default=1000, show_default=True, metavar="N", help="How many keys."
)
@click.option(
    "--duration",
    type=click.FloatRange(0, 86_400, min_open=True),
    default=5.0,
    show_default=True,
    metavar="S",
    help="Seconds.",
)
@click.pass_context
def bench(
    ctx: click.Context, kind: str, *, conns: int, inflight: int, value_size: int, keys: int, duration: float
) -> None:
    """Measure how many calls a second the store bears, and how long each takes.

    put overwrites random keys below bench/; get reads them, linearizably; mixed is half of each; txn puts a key on
    condition that it exists. For get, mixed and txn all keys are put first. They stay: kv-client del --prefix bench/

    \b
    Examples:
      kv-client bench put --inflight 256
      kv-client -o json bench mixed --conns 4 --value-size 1024 --duration 30
    """
    settings: Settings = ctx.obj
    load = Load(
        kind=kind,
        conns=conns,
        inflight=inflight,
        value_size=value_size,
        keys=keys,
        duration_s=duration,
        make_client=lambda: AsyncClient(settings.endpoints, timeout=settings.timeout_s),
    )
    report = Report()
    asyncio.run(_run(load, report))
    if not report.times.count and report.last_error is not None:
        raise report.last_error
    if settings.output == "json":
        click.echo(json.dumps(_document(load, report)))
    else:
        _print(report)
    if report.errors:
        complain(f"errors: {_errors(report)}; the last one: {report.last_error}")
        ctx.exit(ExitCode.FAILED)


async def _run(load: Load, report: Report) -> None:
    with _progress() as progress:
        filling = None if load.kind == "put" else progress.add_task("fill", total=load.keys, note="")

        def tell(keys: int) -> None:
            if filling is not None:
                progress.update(filling, advance=keys)

        running = progress.add_task(load.kind, total=load.duration_s, note="")

        async def watch() -> None:
            while True:
                await asyncio.sleep(UPDATE_S)
                progress.update(running, completed=report.elapsed_s, note=f"{report.per_second:,.0f}/s")

        watching = asyncio.create_task(watch())
        try:
            await load.run(report, fill_first=None if filling is None else tell)
        finally:
            watching.cancel()


@contextmanager
def _progress() -> Iterator[Progress]:
    """On stderr, and only where somebody looks."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def _print(report: Report) -> None:
    times = report.times
    click.echo(f"{times.count} calls in {report.elapsed_s:.2f} s: {report.per_second:,.0f} a second")
    columns = ("mean", *(f"p{percent:g}" for percent in PERCENTILES), "max")
    durations = (times.mean_s, *map(times.percentile, PERCENTILES), times.max_s)
    print_table(columns, [tuple(map(_milliseconds, durations))])
    most = max((count for _, count in times.rows()), default=1)
    for bound_s, count in times.rows():
        bar = "#" * _part(BAR_WIDTH * count, most)
        click.echo(f"<= {_milliseconds(bound_s):>12}  {count:>9}  {bar}")


def _part(numerator: int, denominator: int) -> int:
    """Rounded up: whatever there is shows."""
    return -(-numerator // denominator)


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3f} ms"


def _document(load: Load, report: Report) -> dict[str, Any]:
    times = report.times
    return {
        "kind": load.kind,
        "conns": load.conns,
        "inflight": load.inflight,
        "value_size": load.value_size,
        "keys": load.keys,
        "prefix": KEY_PREFIX,
        "elapsed_s": report.elapsed_s,
        "calls": times.count,
        "calls_per_s": report.per_second,
        "errors": dict(report.errors),
        "latency_s": {
            "mean": times.mean_s,
            **{f"p{percent:g}": times.percentile(percent) for percent in PERCENTILES},
            "max": times.max_s,
        },
        "histogram": [{"up_to_s": bound_s, "calls": count} for bound_s, count in times.rows()],
    }


def _errors(report: Report) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(report.errors.items()))
