"""``python -m benchmarks``: this store's own figures. See the package's docstring."""

import sys
import tempfile
from pathlib import Path

import click
from kvclient import KvError
from rich.table import Table

from benchmarks import page
from benchmarks.errors import BenchmarkError
from benchmarks.figures import FIGURES, Bench, Line
from benchmarks.results import RESULTS, Results, circumstances
from benchmarks.sizes import FULL, QUICK
from benchmarks.steps import Steps, wide_console
from kvstore.server.local_cluster import ClusterError

__all__ = ["lines_of", "main", "section"]


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(FIGURES)), help="Just this figure; may be repeated.")
@click.option("--quick", is_flag=True, help="A first look at small sizes: nothing to quote, the page stays as it is.")
@click.option(
    "--scratch",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Where the nodes' disks are; the system's temporary directory by default.",
)
@click.option("--render", is_flag=True, help="Measure nothing: write the page from the stored results.")
def main(only: tuple[str, ...], quick: bool, scratch: Path | None, render: bool) -> None:
    """Measure this store, print a table, keep the raw results, and write the page.

    With --only, the figures that are not measured are kept from the last run.
    """
    console = wide_console()
    path = RESULTS / ("bench-quick.json" if quick else "bench.json")
    failed = False
    if render:
        if not path.exists():
            raise click.ClickException(f"there are no results in {path.name} yet")
        results = Results.read(path)
    else:
        sizes = QUICK if quick else FULL
        results = Results(path, circumstances(sizes), merge=True)
        names = [name for name in FIGURES if not only or name in only]
        with (
            tempfile.TemporaryDirectory(prefix="kv-bench-", dir=scratch) as directory,
            Steps(console, total=len(names)) as steps,
        ):
            for name in names:
                bench = Bench(sizes=sizes, scratch=Path(directory) / name, steps=steps)
                bench.scratch.mkdir()
                steps.figure(FIGURES[name].title)
                if missing := FIGURES[name].missing():
                    console.print(f"{name}: not measured, {missing} is not installed", style="yellow")
                    continue
                try:
                    results.add(name, FIGURES[name].measure(bench))
                except (BenchmarkError, ClusterError, KvError) as error:
                    console.print(f"{name}: not measured: {error}", style="red", markup=False)
                    failed = True
    console.print(_table(results))
    if not quick and results.figures:
        page.write_section("figures", section(results))
    sys.exit(failed)


def lines_of(results: Results) -> list[Line]:
    return [
        line
        for name, figure in FIGURES.items()
        if (data := results.data(name)) is not None
        for line in figure.lines(data)
    ]


def section(results: Results) -> str:
    """What the page says of these results."""
    rows = [(line.what, line.value, _goal(line)) for line in lines_of(results)]
    table = page.markdown_table(("what", "measured", "goal"), rows)
    raw = "The raw results are in `benchmarks/results/bench.json`."
    return f"{page.around_text(results.around, results.when())}\n\n{table}\n\n{raw}"


def _goal(line: Line) -> str:
    return line.goal if line.met is None else f"{line.goal}: {'met' if line.met else '**not met**'}"


def _table(results: Results) -> Table:
    table = Table("what", "measured", "goal", title="kvstore")
    for line in lines_of(results):
        style = {True: "green", False: "red", None: None}[line.met]
        table.add_row(line.what, line.value, _goal(line).replace("**", ""), style=style)
    return table


if __name__ == "__main__":
    main()
