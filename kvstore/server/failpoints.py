"""Named points at which a node can be made to die, for tests: ``KV_FAILPOINTS=commit.after=100`` kills it at the 100th.

A kill is SIGKILL to itself: no handler runs, no buffer is flushed, as when the process is killed from outside at
exactly this place. Without the variable a point costs one dictionary look-up.
"""

import os
import signal

__all__ = ["POINTS", "VARIABLE", "arm", "failpoint", "parse"]

POINTS = ("commit.before", "commit.after", "send.before", "send.after", "apply.before", "apply.after")
VARIABLE = "KV_FAILPOINTS"


def parse(text: str) -> dict[str, int]:
    """``NAME=COUNT[,NAME=COUNT…]``: at the COUNT-th passage (from 1) of NAME the process kills itself."""
    remaining: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, count = part.partition("=")
        if name not in POINTS or not count.isdigit() or int(count) < 1:
            raise ValueError(f"{VARIABLE}: {part!r} is not NAME=COUNT with NAME one of {', '.join(POINTS)}")
        remaining[name] = int(count)
    return remaining


_remaining: dict[str, int] = {}


def arm(text: str) -> None:
    """Sets the points of this process. Raises ValueError."""
    _remaining.clear()
    _remaining.update(parse(text))


def failpoint(name: str) -> None:
    """Passes the point ``name``."""
    if not _remaining:
        return
    left = _remaining.get(name)
    if left is None:
        return
    _remaining[name] = left - 1
    if left == 1:
        os.kill(os.getpid(), signal.SIGKILL)
