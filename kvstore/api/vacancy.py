"""Whether nobody has led for so long that waiting for a leader is no use: one watch for all streams of a node.

An election takes a moment, and whoever waits it out is spared an error. After ``VACANT_AFTER_S`` the chance is that
this node is on the wrong side of a partition, or most of the cluster is down: then what certainly was not proposed is
its client's again, to be tried elsewhere or given up.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from kvstore.api.port import ReplicaPort

__all__ = ["VACANT_AFTER_S", "Vacancy"]

VACANT_AFTER_S: Final = 0.5


class Vacancy:
    """Belongs to the event loop that it is made in, and watches as long as ``port`` lives."""

    def __init__(self, port: ReplicaPort) -> None:
        self._port = port
        self._timer: asyncio.TimerHandle | None = None
        self._vacant = asyncio.Event()
        self._told: dict[object, Callable[[], None]] = {}
        port.watch_leadership(self._changed)
        self._changed()

    @property
    def is_long(self) -> bool:
        return self._vacant.is_set()

    async def wait(self) -> None:
        """Returns once it is long, at once if it is."""
        await self._vacant.wait()

    def tell(self, became_long: Callable[[], None]) -> Callable[[], None]:
        """``became_long`` is called each time, until the returned function is."""
        watcher = object()
        self._told[watcher] = became_long

        def stop() -> None:
            self._told.pop(watcher, None)

        return stop

    def _changed(self) -> None:
        if self._port.status().leader is not None:
            self._vacant.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None and not self._vacant.is_set():
            self._timer = asyncio.get_running_loop().call_later(VACANT_AFTER_S, self._became_long)

    def _became_long(self) -> None:
        self._timer = None
        self._vacant.set()
        for became_long in list(self._told.values()):
            became_long()
