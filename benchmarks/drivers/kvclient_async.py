"""Our asyncio client, told all endpoints."""

import asyncio
from collections.abc import Sequence

from kvclient import AsyncClient

from benchmarks.drivers.load import key_name

__all__ = ["KvConnection", "connect"]


class KvConnection:
    def __init__(self, endpoints: Sequence[str]) -> None:
        self._client = AsyncClient(endpoints)

    async def put(self, key: int, value: bytes) -> None:
        await self._client.put(b"key-%09d" % key, value)

    async def get(self, key: int) -> None:
        await self._client.get(b"key-%09d" % key)

    async def put_many(self, first: int, count: int, value: bytes) -> None:
        await asyncio.gather(*(self._client.put(key_name(key), value) for key in range(first, first + count)))

    async def close(self) -> None:
        await self._client.close()


async def connect(endpoints: Sequence[str], number: int) -> KvConnection:  # noqa: ARG001  # one client knows them all
    return KvConnection(endpoints)
