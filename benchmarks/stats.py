"""The few statistics that are quoted."""

import math
import statistics
from collections.abc import Sequence

__all__ = ["median", "percentile", "ratio_range"]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """By the nearest rank: the smallest element that at least ``percent`` % do not exceed. NaN of nothing."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median(values: Sequence[float]) -> float:
    """NaN of nothing."""
    return statistics.median(values) if values else math.nan


def ratio_range(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """The smallest and the largest ratio of one round: how much the machine moved meanwhile."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=False) if other] or [math.nan]
    return min(ratios), max(ratios)
