"""What the comparison is to show: each row, what it must come to, what is aimed at, and what the raw results say.

Figures are the data of ``benchmarks.compare``'s measurements by name; a row whose figure is not there was not measured.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.figures import ratio_text
from benchmarks.stats import median, percentile, ratio_range

__all__ = ["ROWS", "Bound", "Row", "Seen", "Verdict", "verdicts"]

OURS: Final = "kvstore"
Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bound:
    """``limit`` of the ratio, or of our own figure where ``absolute`` names its unit."""

    limit: float
    at_least: bool
    absolute: str = ""

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.absolute or '×'}"

    def holds(self, seen: "Seen") -> bool:
        value = seen.ours if self.absolute else seen.ratio
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Medians of ours and theirs, and the ratios of single rounds."""

    ours: float
    theirs: float
    unit: str
    span: tuple[float, float] | None = None

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs if self.theirs else math.nan

    def text(self, value: float) -> str:
        digits = 2 if self.unit in {"ms", "s"} and value < 100 else 0
        return f"{value:,.{digits}f}{'/s' if self.unit == '/s' else ' ' + self.unit}"

    def ratio_text(self) -> str:
        return f"{self.ratio:.2f}×" if self.span is None else ratio_text(self.ratio, self.span)


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    peer: str
    see: Callable[[Figures], Seen | None]
    must: Bound
    aim: Bound | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``seen`` is None where it was not measured."""

    row: Row
    seen: Seen | None

    def met(self, bound: Bound) -> bool | None:
        return None if self.seen is None else bound.holds(self.seen)

    def said(self, bound: Bound | None) -> str:
        """The bound, and whether it is met."""
        if bound is None:
            return "–"
        met = self.met(bound)
        return str(bound) if met is None else f"{bound}: {'met' if met else '**not met**'}"


def verdicts(figures: Figures) -> list[Verdict]:
    return [Verdict(row, row.see(figures)) for row in ROWS]


def _rounds(figure: str, peer: str, field: str, unit: str) -> Callable[[Figures], Seen | None]:
    """A figure of alternating rounds, by the contestants' names."""
    return lambda figures: _compared(figures.get(figure), OURS, peer, field, unit)


def _compared(rounds: Mapping[str, Any] | None, one: str, other: str, field: str, unit: str) -> Seen | None:
    if rounds is None or one not in rounds or other not in rounds:
        return None
    ours, theirs = ([outcome[field] for outcome in rounds[name]] for name in (one, other))
    return Seen(ours=median(ours), theirs=median(theirs), unit=unit, span=ratio_range(ours, theirs))


def _gap(summary: Callable[[Sequence[float]], float]) -> Callable[[Figures], Seen | None]:
    def see(figures: Figures) -> Seen | None:
        gaps = figures.get("gaps", {})
        if OURS not in gaps or "etcd" not in gaps:
            return None
        return Seen(ours=summary(sorted(gaps[OURS])), theirs=summary(sorted(gaps["etcd"])), unit="ms")

    return see


def _keys(value: Callable[[Mapping[str, Any]], float], unit: str) -> Callable[[Figures], Seen | None]:
    def see(figures: Figures) -> Seen | None:
        found = figures.get("keys", {})
        if OURS not in found or "etcd" not in found:
            return None
        return Seen(ours=value(found[OURS]), theirs=value(found["etcd"]), unit=unit)

    return see


def _largest_memory(data: Mapping[str, Any]) -> float:
    return float(max(one["resident"] for one in data["memory"].values())) / 1e6


def _overload_memory(figures: Figures) -> Seen | None:
    data = figures.get("overload")
    if data is None:
        return None
    worst = [max(data[f"resident_worst_{name}"].values()) / 1e6 for name in ("overloaded", "saturated")]
    return Seen(ours=worst[0], theirs=worst[1], unit="MB")


def _itself(figure: str, one: str, other: str) -> Callable[[Figures], Seen | None]:
    def see(figures: Figures) -> Seen | None:
        data = figures.get(figure)
        return _compared(data and data.get("rounds", data), one, other, "per_second", "/s")

    return see


def _at_least(limit: float) -> Bound:
    return Bound(limit, at_least=True)


def _at_most(limit: float, absolute: str = "") -> Bound:
    return Bound(limit, at_least=False, absolute=absolute)


ROWS: Final[tuple[Row, ...]] = (
    Row(
        "puts/s from Python, 256 in flight",
        "etcd, aetcd",
        _rounds("put-256", "etcd", "per_second", "/s"),
        _at_least(3),
        _at_least(6),
    ),
    Row(
        "puts/s from Python, 64 in flight",
        "etcd, aetcd",
        _rounds("put-64", "etcd", "per_second", "/s"),
        _at_least(2.5),
        _at_least(5),
    ),
    Row(
        "put p50, 1 in flight",
        "etcd, aetcd",
        _rounds("put-1", "etcd", "p50_ms", "ms"),
        _at_most(1.2),
        _at_most(0.9),
    ),
    Row(
        "linearizable gets/s from Python, 256 in flight",
        "etcd, aetcd",
        _rounds("get-256", "etcd", "per_second", "/s"),
        _at_least(3),
        _at_least(6),
    ),
    Row(
        "sync client, 32 threads, puts/s",
        "etcd, python-etcd3",
        _rounds("sync", "etcd", "per_second", "/s"),
        _at_least(5),
        _at_least(8),
    ),
    Row(
        "unary puts/s, h2load 4×64, on the etcd wire",
        "etcd",
        _rounds("unary", "etcd", "per_second", "/s"),
        _at_least(0.25),
        _at_least(0.45),
    ),
    Row(
        "writes stop after SIGKILL of the leader, p50",
        "etcd",
        _gap(lambda ordered: percentile(ordered, 50)),
        _at_most(0.4),
        _at_most(300, " ms"),
    ),
    Row(
        "the same, worst",
        "etcd",
        _gap(lambda ordered: ordered[-1]),
        _at_most(0.4),
    ),
    Row(
        "many keys: memory of the largest node",
        "etcd",
        _keys(_largest_memory, "MB"),
        _at_most(0.4),
        _at_most(0.2),
    ),
    Row(
        "many keys: restart of a follower, to its first read",
        "etcd",
        _keys(lambda data: median(data["one_s"]), "s"),
        _at_most(0.5),
        _at_most(0.2),
    ),
    Row(
        "many keys: restart of all nodes, to the first read",
        "etcd",
        _keys(lambda data: median(data["all_s"]), "s"),
        _at_most(0.5),
        _at_most(0.2),
    ),
    Row(
        "puts/s with many keys against few",
        "itself",
        _itself("many", "many", "few"),
        _at_least(0.8),
        _at_least(0.95),
    ),
    Row(
        "puts/s with 5 nodes against 3",
        "itself",
        _itself("nodes", "5", "3"),
        _at_least(0.55),
    ),
    Row(
        "overload: goodput at 10× the clients that saturate it",
        "itself",
        _itself("overload", "overloaded", "saturated"),
        _at_least(0.7),
        _at_least(0.9),
    ),
    Row(
        "overload: memory of the largest node, against saturated",
        "itself",
        _overload_memory,
        _at_most(2),
    ),
)
