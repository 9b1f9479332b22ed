"""The generated sections of docs/performance.md: what stands between two markers is replaced, the rest is kept."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.drivers import ROOT
from benchmarks.errors import BenchmarkError

__all__ = ["PAGE", "around_text", "markdown_table", "replace_section", "write_section"]

PAGE: Final = ROOT / "docs" / "performance.md"
_WIDTH: Final = 120


def replace_section(text: str, name: str, section: str) -> str:
    """Raises BenchmarkError if the page has not exactly one place for the section."""
    begin, end = f"<!-- begin {name}: written by", f"<!-- end {name} -->"
    pattern = re.compile(rf"({re.escape(begin)}[^\n]*\n).*?({re.escape(end)})", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise BenchmarkError(f"the page needs one pair of lines that begin with {begin!r} and {end!r}")
    return pattern.sub(lambda found: f"{found[1]}\n{section.strip()}\n\n{found[2]}", text)


def write_section(name: str, section: str, *, page: Path = PAGE) -> None:
    page.write_text(replace_section(page.read_text(encoding="utf-8"), name, section), encoding="utf-8")


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def around_text(around: dict[str, Any], when: str) -> str:
    """One sentence on what was measured where."""
    machine, sizes = around["machine"], around["sizes"]
    versions = ", ".join(f"{name} {version}" for name, version in around["versions"].items())
    return textwrap.fill(
        f"Measured {when} on {machine['cores']} cores ({machine['processor']}), Linux {machine['kernel']}; {versions}. "
        f"{sizes['value_bytes']}-byte values, {sizes['keys']:,} keys where no other number is given, durable nodes on "
        f"loopback; medians of {sizes['rounds']} rounds of {sizes['seconds']:g} s.",
        width=_WIDTH,
        break_on_hyphens=False,
    )
