"""What the API refuses, in etcd's words: codes of our own, texts that clients compare byte for byte.

What the state machine refuses keeps its own code and text (``ApiError.of``). The errors named here are those that arise
before or around it. ``TimedOut`` is Unavailable, as in etcd, but its text keeps clients from repeating a write, which
may have been applied.
"""

from kvstore.mvcc.errors import Code, Refused

__all__ = ["ApiError", "NoLeader", "TimedOut", "TooManyRequests"]


class ApiError(Exception):
    """The one exception that handlers raise. ``code`` and ``text`` are what the client sees."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @classmethod
    def of(cls, refused: Refused) -> "ApiError":
        """The refusal of the state machine, as clients see it."""
        return cls(refused.code, refused.text)


class TimedOut(ApiError):
    """No answer in time. The fate of a write is unknown."""

    def __init__(self) -> None:
        super().__init__(Code.UNAVAILABLE, "etcdserver: request timed out")


class NoLeader(ApiError):
    """The client asked to be refused at once where no leader is known (metadata ``hasleader``)."""

    def __init__(self) -> None:
        super().__init__(Code.UNAVAILABLE, "etcdserver: no leader")


class TooManyRequests(ApiError):
    """As much as may wait waits already: nothing was done."""

    def __init__(self) -> None:
        super().__init__(Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
