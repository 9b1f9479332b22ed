"""ZooKeeper through kazoo: its asynchronous calls, whose answers come from a thread of its own.

A node of ZooKeeper's tree must exist before it can be set, so the first put of a key creates it. Its reads are a
follower's, and may be old.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError, NoNodeError

__all__ = ["ZooKeeperConnection", "connect"]


class ZooKeeperConnection:
    def __init__(self, endpoints: Sequence[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = KazooClient(hosts=",".join(endpoints))

    async def start(self) -> None:
        await asyncio.to_thread(self._client.start, 30)

    async def put(self, key: int, value: bytes) -> None:
        path = f"/key-{key:09d}"
        try:
            await self._answer(self._client.set_async, path, value)
        except NoNodeError:
            try:
                await self._answer(self._client.create_async, path, value)
            except NodeExistsError:
                await self._answer(self._client.set_async, path, value)

    async def get(self, key: int) -> None:
        try:
            await self._answer(self._client.get_async, f"/key-{key:09d}")
        except NoNodeError:
            return

    async def put_many(self, first: int, count: int, value: bytes) -> None:
        await asyncio.gather(*(self.put(key, value) for key in range(first, first + count)))

    async def close(self) -> None:
        await asyncio.to_thread(self._client.stop)
        await asyncio.to_thread(self._client.close)

    async def _answer(self, call: Callable[..., Any], *arguments: object) -> None:
        future = self._loop.create_future()

        def done(result: Any) -> None:
            self._loop.call_soon_threadsafe(settle, result)

        def settle(result: Any) -> None:
            if not future.done():
                if result.exception is None:
                    future.set_result(None)
                else:
                    future.set_exception(result.exception)

        call(*arguments).rawlink(done)
        await future


async def connect(endpoints: Sequence[str], number: int) -> ZooKeeperConnection:  # noqa: ARG001  # knows them all
    connection = ZooKeeperConnection(endpoints)
    await connection.start()
    return connection
