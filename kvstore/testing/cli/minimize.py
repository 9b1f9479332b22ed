"""The fewest faults with which a seed still breaks the same law.

Delta debugging (Zeller, "Simplifying and Isolating Failure-Inducing Input"): try halves and complements, then finer
parts, until no single fault can be left out. Each fault of a plan stands for itself, so leaving one out disturbs no
other.
"""

from collections.abc import Callable, Sequence

__all__ = ["minimize"]


def minimize(numbers: Sequence[int], fails: Callable[[tuple[int, ...]], bool]) -> tuple[int, ...]:
    """``fails`` holds for ``numbers``; the result is a part of it for which it holds, and for no part one smaller."""
    kept = tuple(numbers)
    if fails(()):
        return ()
    parts = 2
    while len(kept) > 1:
        size = -(-len(kept) // parts)
        chunks = [kept[start : start + size] for start in range(0, len(kept), size)]
        rests = [tuple(n for n in kept if n not in chunk) for chunk in chunks]
        candidates = chunks + rests if parts > 2 else chunks
        smaller = next((c for c in candidates if len(c) < len(kept) and fails(c)), None)
        if smaller is not None:
            parts = 2 if smaller in chunks else max(parts - 1, 2)
            kept = smaller
        elif parts < len(kept):
            parts = min(2 * parts, len(kept))
        else:
            break
    return kept
