"""etcd through aetcd, which talks to one endpoint: clients are spread over those given."""

from collections.abc import Sequence
from typing import Final

import aetcd

from benchmarks.drivers.load import key_name

__all__ = ["PROBE_CLIENTS", "EtcdConnection", "connect"]

PROBE_CLIENTS: Final = 3
"""One for each node: a client that knows one node only cannot outlive it."""
_TIMEOUT_S: Final = 5


class EtcdConnection:
    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._client = aetcd.Client(host=host, port=int(port), timeout=_TIMEOUT_S)

    async def put(self, key: int, value: bytes) -> None:
        await self._client.put(b"key-%09d" % key, value)

    async def get(self, key: int) -> None:
        await self._client.get(b"key-%09d" % key)

    async def put_many(self, first: int, count: int, value: bytes) -> None:
        puts = [self._client.transactions.put(key_name(key), value) for key in range(first, first + count)]
        await self._client.transaction(compare=[], success=puts, failure=[])

    async def close(self) -> None:
        await self._client.close()


async def connect(endpoints: Sequence[str], number: int) -> EtcdConnection:
    return EtcdConnection(endpoints[number % len(endpoints)])
