"""PySyncObj, a library that replicates within the programs that use it: this process is one of the three nodes.

Nothing is written to disk: that is its default, and its best case. ``python -m benchmarks.drivers.pysyncobj_async
SELF OTHER OTHER`` is a node without load.
"""

import asyncio
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.batteries import ReplDict

__all__ = ["CLIENTS_MAX", "PySyncObjConnection", "connect", "node"]

CLIENTS_MAX: Final = 1
"""A process is one node."""


class PySyncObjConnection:
    def __init__(self, endpoints: Sequence[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._data, self._node = node(endpoints)

    async def start(self) -> None:
        while not (self._node.isReady() and self._node._getLeader()):  # noqa: ASYNC110, SLF001 - no event, no other name
            await asyncio.sleep(0.05)

    async def put(self, key: int, value: bytes) -> None:
        future = self._loop.create_future()

        def done(_result: Any, error: Any) -> None:
            self._loop.call_soon_threadsafe(settle, error)

        def settle(error: Any) -> None:
            if not future.done():
                if error:
                    future.set_exception(RuntimeError(f"PySyncObj's error {error}"))
                else:
                    future.set_result(None)

        self._data.set(key, value, callback=done)
        await future

    async def get(self, key: int) -> None:
        """A look into this process's own dictionary: no call at all."""
        self._data.get(key)

    async def put_many(self, first: int, count: int, value: bytes) -> None:
        await asyncio.gather(*(self.put(key, value) for key in range(first, first + count)))

    async def close(self) -> None:
        await asyncio.to_thread(self._node.destroy)


def node(endpoints: Sequence[str]) -> tuple[Any, Any]:
    """The replicated dictionary and the node, which is at the first of the endpoints."""
    data = ReplDict()
    return data, SyncObj(endpoints[0], list(endpoints[1:]), conf=SyncObjConf(autoTick=True), consumers=[data])


async def connect(endpoints: Sequence[str], number: int) -> PySyncObjConnection:
    assert number < CLIENTS_MAX, number
    connection = PySyncObjConnection(endpoints)
    await connection.start()
    return connection


if __name__ == "__main__":
    running = node(sys.argv[1:])
    print("ready", flush=True)
    threading.Event().wait()
