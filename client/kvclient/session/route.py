"""Whom to connect to next, and when. No I/O: time is an argument, chance an injected ``Random``.

A client goes round its endpoints, at first without a pause; after each full round the pauses double, jittered, lest
clients that lost a server together come back together. A connected client is told who leads and goes there, to save
each request a hop, by the address that the leader gives to clients. That address may not work from here (another
network, a container's own name) or may lead somewhere else: whatever did not lead to the leader is not tried again for
a while, and the client stays where it is served.
"""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Final

from kvclient.attempts import PAUSE_FIRST_S, PAUSE_MAX_S
from kvclient.endpoints import parse_endpoints

__all__ = ["MISLED_ENDPOINT_S", "MISLED_S", "Route"]

MISLED_S: Final = 30.0  # for how long an address that did not lead to the leader is left alone
MISLED_ENDPOINT_S: Final = 2.0  # the same for an endpoint, whose node may only just have gone
MISLED_MAX: Final = 64


class Route:
    """``endpoint`` is where the next stream goes, unless somebody moves it."""

    def __init__(self, endpoints: Sequence[str], *, first: int, rng: Random) -> None:
        self._endpoints = endpoints
        self._index = first % len(endpoints)
        self._rng = rng
        self._failures = 0
        self._misled: dict[str, float] = {}

    @property
    def endpoint(self) -> str:
        """Whom to connect to."""
        return self._endpoints[self._index]

    @property
    def index(self) -> int:
        """Which of the endpoints that is."""
        return self._index

    def opened(self, endpoint: str) -> None:
        """A stream is served there."""
        self._failures = 0
        if endpoint in self._endpoints:
            self._index = self._endpoints.index(endpoint)

    def failed(self, endpoint: str) -> float:
        """A stream to it was lost, or none could be had; returns how long to wait before the next one."""
        self._failures += 1
        if endpoint == self.endpoint:
            self._index = (self._index + 1) % len(self._endpoints)
        rounds = self._failures // len(self._endpoints)
        if not rounds:
            return 0.0
        return self._rng.uniform(0.5, 1.0) * min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** min(rounds - 1, 10))

    def to_leader(self, urls: Iterable[str], *, connected: str, now: float) -> str | None:
        """Where the leader's clients connect, if it is worth trying from here."""
        addresses = [address for url in urls if (address := _address(url)) is not None]
        known = [address for address in addresses if address in self._endpoints]
        for address in known or addresses:
            if address != connected and now >= self._misled.get(address, now):
                return address
        return None

    def misled(self, endpoint: str, now: float) -> None:
        """It was said to be the leader's, and cannot be reached or belongs to another node."""
        if len(self._misled) >= MISLED_MAX:
            self._misled.clear()
        self._misled[endpoint] = now + (MISLED_ENDPOINT_S if endpoint in self._endpoints else MISLED_S)


def _address(url: str) -> str | None:
    try:
        return parse_endpoints(url)[0]
    except ValueError:
        return None
