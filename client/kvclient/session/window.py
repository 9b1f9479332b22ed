"""The server's window on one stream: what is before it, in number and bytes, and how much of either it takes.

An answer gives its request's room back, also where nobody waits for it any more; the end of the stream gives back all.
A server that keeps silent with requests before it is one to leave; one with nothing before it has nothing to say.
While the window is held nothing new goes out, so that what is before the server drains: before a renewal of the
session or a move to another server, lest copies are doubted for it. That does not last: see ``is_held_long_enough``.
"""

import math
from typing import Final

from kvproto.session_pb2 import Opened

from kvclient.session.pending import Pending

__all__ = ["HOLD_MAX_S", "REQUESTS_MAX", "Window"]

REQUESTS_MAX: Final = 4096  # never more between the lowest unanswered sequence and the newest, whatever the server says
BYTES_MAX: Final = 3 * 512 * 1024  # where the server says nothing
HOLD_MAX_S: Final = 0.5


class Window:
    """``silence_s``: how long a server may keep silent with requests before it.

    Whoever sends and receives many keeps ``requests`` and ``size``, what is before the server, and ``quiet_since``.
    """

    __slots__ = ("_held_until", "_silence_s", "bytes_max", "is_open", "quiet_since", "requests", "requests_max", "size")

    def __init__(self, *, silence_s: float) -> None:
        self._silence_s = silence_s
        self._held_until = math.inf
        self.is_open = False
        self.requests_max = 0
        self.bytes_max = 0
        self.requests = 0
        self.size = 0
        self.quiet_since = 0.0

    def opened(self, opened: Opened, now: float) -> None:
        """A stream serves."""
        assert not self.is_open, "one stream at a time"
        assert not self.requests, "nothing was sent on it"
        self.is_open = True
        self.requests_max = min(opened.requests_max or REQUESTS_MAX, REQUESTS_MAX)
        self.bytes_max = opened.bytes_max or BYTES_MAX
        self.quiet_since = now

    def closed(self) -> None:
        """The stream is over, and nothing is before a server."""
        self.is_open = False
        self.requests = self.size = 0
        self._held_until = math.inf

    def returned(self, call: Pending) -> None:
        """A call that was before the server is answered."""
        self.requests -= 1
        self.size -= call.size

    def hold(self, now: float) -> None:
        """Nothing new goes out from now on."""
        if self._held_until == math.inf:
            self._held_until = now + HOLD_MAX_S

    def release(self) -> None:
        """It does again."""
        self._held_until = math.inf

    @property
    def is_held(self) -> bool:
        """Whether nothing new goes out."""
        return self._held_until < math.inf

    def is_held_long_enough(self, now: float) -> bool:
        """It is held, and the server has answered everything, or takes too long."""
        return self.is_held and (not self.requests or now >= self._held_until)

    def is_silent(self, now: float) -> bool:
        """The server keeps silent for too long."""
        return self.requests > 0 and now >= self.quiet_since + self._silence_s

    def next_deadline(self) -> float:
        """When the two above change without an input; infinity for never."""
        if not self.is_open:
            return math.inf
        silent_at = self.quiet_since + self._silence_s if self.requests else math.inf
        return min(silent_at, self._held_until)
