"""``python -m tests.mutants``: hunts every mutant from the first seed on, and records what caught it.

``python -m tests.mutants WORDS`` hunts only those whose description contains the words, tells how each was caught and
records nothing.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from kvstore.testing.cli.seeds import in_order
from tests.mutants.catalogue import FIRST_SEED, MUTANTS, hunt_from_first, write
from tests.mutants.hunt import Catch

_PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
_BEGIN, _END = "<!-- mutants: begin -->\n", "<!-- mutants: end -->\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Hunt deliberate mistakes.")
    parser.add_argument("words", nargs="?", default="", help="only mutants whose description contains this")
    parser.add_argument("--seeds", type=int, default=1000, help="give up after so many (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    options = parser.parse_args()
    chosen = [number for number, mutant in enumerate(MUTANTS) if options.words in mutant.about]
    catches: dict[str, Catch] = {}
    for number, caught in zip(chosen, _hunted(chosen, options.seeds, options.jobs), strict=True):
        about = MUTANTS[number].about
        print(f"{about}: {f'seed {caught.seed}, {caught.law}' if caught else 'SURVIVES'}", flush=True)
        if caught and options.words:
            print(caught.text)
        if caught:
            catches[about] = caught
    if catches:
        print(f"{len(catches)} of {len(chosen)} caught, seeds needed: median {statistics.median(_needed(catches)):g}")
    if not options.words:
        write(catches)
        _write_table(catches)
    return 0 if len(catches) == len(chosen) else 1


def _hunted(chosen: list[int], seeds: int, processes: int) -> Iterator[Catch | None]:
    columns = (TextColumn("hunting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("", total=len(chosen))
        for caught in in_order(hunt_from_first, iter([(number, seeds) for number in chosen]), processes=processes):
            progress.advance(task)
            yield caught


def _needed(catches: dict[str, Catch]) -> list[int]:
    return [caught.seed - FIRST_SEED + 1 for caught in catches.values()]


def _write_table(catches: dict[str, Catch]) -> None:
    rows = ["| the mistake | where | caught by | seeds needed |", "| --- | --- | --- | ---: |"]
    for mutant in MUTANTS:
        caught = catches.get(mutant.about)
        law, needed = (caught.law, str(caught.seed - FIRST_SEED + 1)) if caught else ("nothing", "")
        places = ", ".join(f"`{edit.place}`" for edit in mutant.edits)
        rows.append(f"| {mutant.about} | {places} | {law} | {needed} |")
    text = _PAGE.read_text()
    before, rest = text.split(_BEGIN)
    _old, after = rest.split(_END)
    _PAGE.write_text(before + _BEGIN + "\n".join(rows) + "\n" + _END + after)


if __name__ == "__main__":
    sys.exit(main())
