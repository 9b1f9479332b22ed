"""A load of unique writes that never lets up, whatever happens to the nodes, and a record of what each was told.

Every writer has one write in flight at any time: when it has been answered, or its fate is unknown, the next one goes
out. Writers begin at the node that they belong to and fail over to the others as any client would; when their node is
back they return to it, so that every node always takes writes. It runs in a thread of its own, because those who kill
and restart nodes block.
"""

import asyncio
import enum
import itertools
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

from kvclient import AsyncClient, KvError, Put, UnknownOutcome

__all__ = ["Fate", "Write", "WriteLoad"]


class Fate(enum.Enum):
    ACKNOWLEDGED = "acknowledged"
    UNKNOWN = "unknown"
    NOT_DONE = "not done"
    """The client's word: it certainly was not, and never will be."""


@dataclass(frozen=True, slots=True)
class Write:
    """One value, put under one key or, in one transaction, under two. ``revision`` is 0 unless acknowledged."""

    value: bytes
    keys: tuple[bytes, ...]
    fate: Fate
    revision: int
    invoked: float
    returned: float


class WriteLoad:
    """``endpoints`` by node id. A context manager: leaving it waits until the last write has been answered."""

    def __init__(
        self, endpoints: Mapping[int, str], *, writers_per_node: int = 24, keys: int = 4096, timeout_s: float = 5.0
    ) -> None:
        self._endpoints = dict(endpoints)
        self._writers_per_node = writers_per_node
        self._keys = [f"load/{number:04}".encode() for number in range(keys)]
        self._timeout_s = timeout_s
        self._clients: dict[int, AsyncClient] = {}
        self._former_clients: list[AsyncClient] = []
        self._returning: set[int] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self._fault: BaseException | None = None
        self.writes: list[Write] = []
        self.in_flight = 0
        self.acknowledged_at: Counter[int] = Counter()
        """By the node that the writer belongs to; it may have failed over."""
        self.errors: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(timeout=60)
        assert not self._thread.is_alive(), "every write ends by its deadline"
        if self._fault is not None:
            raise self._fault

    @property
    def acknowledged(self) -> int:
        return self.acknowledged_at.total()

    def return_to(self, node_id: int) -> None:
        """The node is back: its writers begin there again with their next writes."""
        self._returning.add(node_id)

    def _run(self) -> None:
        try:
            asyncio.run(self._write_all())
        except BaseException as fault:  # raised again by whoever waits for this thread
            self._fault = fault

    async def _write_all(self) -> None:
        for node_id in self._endpoints:
            self._clients[node_id] = self._client(node_id)
        try:
            async with asyncio.TaskGroup() as group:
                for node_id in self._endpoints:
                    for number in range(self._writers_per_node):
                        group.create_task(self._write_on(node_id, f"{node_id}.{number}"))
        finally:
            for client in (*self._clients.values(), *self._former_clients):
                await client.close()

    async def _write_on(self, node_id: int, name: str) -> None:
        rng = Random(name)
        for number in itertools.count():
            if self._stopping.is_set():
                return
            two = rng.random() < 0.1
            keys = tuple(rng.sample(self._keys, k=2 if two else 1))
            await self._write(node_id, f"{name}.{number}".encode(), keys)

    async def _write(self, node_id: int, value: bytes, keys: tuple[bytes, ...]) -> None:
        fate, revision = Fate.ACKNOWLEDGED, 0
        invoked = time.monotonic()
        self.in_flight += 1
        try:
            revision = await self._put(self._client_of(node_id), value, keys)
            self.acknowledged_at[node_id] += 1
        except UnknownOutcome as error:
            fate = Fate.UNKNOWN
            self.errors[f"unknown: {error.text}"] += 1
        except KvError as error:
            fate = Fate.NOT_DONE
            self.errors[f"not done: {error.text}"] += 1
        finally:
            self.in_flight -= 1
        self.writes.append(Write(value, keys, fate, revision, invoked, time.monotonic()))

    @staticmethod
    async def _put(client: AsyncClient, value: bytes, keys: tuple[bytes, ...]) -> int:
        if len(keys) == 1:
            return (await client.put(keys[0], value)).revision
        result = await client.txn().then(*(Put(key, value) for key in keys)).commit()
        assert result.succeeded, "a transaction without comparisons succeeds"
        return result.revision

    def _client_of(self, node_id: int) -> AsyncClient:
        if node_id in self._returning:
            self._returning.discard(node_id)
            self._former_clients.append(self._clients[node_id])  # calls are still under way on it
            self._clients[node_id] = self._client(node_id)
        return self._clients[node_id]

    def _client(self, node_id: int) -> AsyncClient:
        others = [endpoint for other, endpoint in self._endpoints.items() if other != node_id]
        return AsyncClient([self._endpoints[node_id], *others], timeout=self._timeout_s)
