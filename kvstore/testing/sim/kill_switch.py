"""Named points in a turn at which a process can be made to die, like the failpoints of the server."""

from collections.abc import Callable
from typing import Final

__all__ = ["KILL_POINTS", "KillSwitch"]

KILL_POINTS: Final = (
    "commit.before",
    "commit.after",
    "send.before",
    "send.middle",
    "send.after",
    "apply.middle",
    "apply.after",
)


class KillSwitch:
    """Armed for one point at a time."""

    def __init__(self) -> None:
        self._point: str | None = None
        self._left = 0
        self._then: Callable[[], None] = lambda: None

    def arm(self, point: str, passages: int, then: Callable[[], None]) -> None:
        """The ``passages``-th passage of ``point``, from 1, is the last; ``then`` is called after the death."""
        assert point in KILL_POINTS, f"there is no point {point}"
        assert passages >= 1, f"passages count from 1, not {passages}"
        self._point, self._left, self._then = point, passages, then

    def disarm(self) -> None:
        self._point = None

    def passes(self, point: str) -> Callable[[], None] | None:
        """The process passes ``point``: None where it lives on, else what is to be called after its death."""
        if self._point != point:
            return None
        self._left -= 1
        if self._left:
            return None
        self._point = None
        return self._then
