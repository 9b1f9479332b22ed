"""Calls that the server refused for the moment: when they are sent again, and when it is enough.

They go out together after one pause, which doubles with each round and begins anew once something succeeds.
"""

import math
from random import Random
from typing import Final

from kvclient.attempts import PAUSE_FIRST_S
from kvclient.session.pending import Pending, State

__all__ = ["REFUSED_MAX_S", "Patience"]

REFUSED_MAX_S: Final = 0.5
PAUSE_MAX_S: Final = 0.25


class Patience:
    """``alone``: there is no other server to go to, and patience does not end."""

    def __init__(self, *, alone: bool, rng: Random) -> None:
        self._max_s = math.inf if alone else REFUSED_MAX_S
        self._rng = rng
        self._rounds = 0
        self.calls: list[Pending] = []
        self.again_at = math.inf  # when they go out
        self.ends_at = math.inf  # when the server is left

    def refused(self, call: Pending, now: float) -> None:
        """One more."""
        if self.ends_at == math.inf and not self._rounds:
            self.ends_at = now + self._max_s
        if not self.calls:
            pause_s = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** min(self._rounds, 10))
            self.again_at = now + self._rng.uniform(0.5, 1.0) * pause_s
            self._rounds += 1
        self.calls.append(call)

    def succeeded(self) -> None:
        """The server takes requests."""
        self.ends_at = math.inf
        self._rounds = 0

    def take(self) -> list[Pending]:
        """Those that somebody still waits for; they are refused no more."""
        taken, self.calls = self.calls, []
        self.again_at = math.inf
        return [call for call in taken if call.state is not State.DONE]
