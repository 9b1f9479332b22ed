"""Clients that read, write, delete and compare-and-swap a few keys at random, recorded as a history to be checked.

Many clients on few keys, so that they meet; reads are linearizable; each client belongs to a node and fails over like
any other. Nothing here knows what befalls the nodes meanwhile.
"""

import asyncio
import threading
import time
from collections.abc import Mapping
from random import Random
from types import TracebackType
from typing import Self

from kvclient import AsyncClient, Compare, KvError, TxnResult, UnknownOutcome
from kvclient import Put as PutKey
from kvproto.command_pb2 import CommandBatch, Entry
from kvproto.etcd import rpc_pb2 as rpc

from kvstore.paxos.types import Application, Value
from kvstore.storage.codec import encode_value
from kvstore.testing import checking
from kvstore.testing.checking import Action, Command, CompareAndSwap, Delete, LoggedSlot, Opaque, Put, Range, Response

__all__ = ["MixedLoad", "logged"]


class MixedLoad:
    """A context manager: leaving it waits until the last operation has ended."""

    def __init__(
        self, endpoints: Mapping[int, str], *, clients_per_node: int = 8, keys: int = 5, timeout_s: float = 5.0
    ) -> None:
        self._endpoints = dict(endpoints)
        self._clients_per_node = clients_per_node
        self._keys = [f"mixed/{number}".encode() for number in range(keys)]
        self._timeout_s = timeout_s
        self._recorder = checking.Recorder()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mixed load")
        self._fault: BaseException | None = None
        self.answered = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(timeout=60)
        assert not self._thread.is_alive(), "every operation ends by its deadline"
        if self._fault is not None:
            raise self._fault

    def history(self) -> checking.History:
        return self._recorder.history()

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as fault:  # raised again by whoever waits for this thread
            self._fault = fault

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for node_id in self._endpoints:
                for number in range(self._clients_per_node):
                    group.create_task(self._client(node_id, f"{node_id}.{number}"))

    async def _client(self, node_id: int, name: str) -> None:
        rng = Random(name)
        others = [endpoint for other, endpoint in self._endpoints.items() if other != node_id]
        number = 0
        while not self._stopping.is_set():
            # A new connection from time to time, so that a node that is back is asked again.
            async with AsyncClient([self._endpoints[node_id], *others], timeout=self._timeout_s) as client:
                seen: dict[bytes, bytes | None] = {}
                for _ in range(100):
                    if self._stopping.is_set():
                        break
                    number += 1
                    await self._operation(client, name, self._choose(rng, f"{name}.{number}".encode(), seen), seen)

    def _choose(self, rng: Random, value: bytes, seen: Mapping[bytes, bytes | None]) -> Action:
        key = rng.choice(self._keys)
        kind = rng.random()
        if kind < 0.4:
            return Range(key) if kind < 0.3 else Range(self._keys[0], self._keys[-1] + b"\0")
        if kind < 0.7:
            return Put(key, value)
        if kind < 0.75:
            return Delete(key)
        expected = seen.get(key)
        if expected is None:
            return CompareAndSwap(key, "version", 0, value)
        return CompareAndSwap(key, "value", expected, value)

    async def _operation(self, client: AsyncClient, name: str, action: Action, seen: dict[bytes, bytes | None]) -> None:
        ticket = self._recorder.invoked(name, action, at=time.monotonic())
        outcome: checking.Outcome
        try:
            outcome = await _ask(client, action)
            self.answered += 1
            if isinstance(action, Range) and not action.range_end:
                seen[action.key] = outcome.entries[0].value if outcome.entries else None
        except UnknownOutcome as error:
            outcome = checking.Unknown(error.text)
        except KvError as error:
            outcome = checking.Failed(error.text)
        self._recorder.returned(ticket, outcome, at=time.monotonic())


async def _ask(client: AsyncClient, action: Action) -> Response:
    match action:
        case Put(key, value):
            return Response((await client.put(key, value)).revision)
        case Range(key, range_end):
            found = await client.range(key, range_end or key + b"\0")
            entries = tuple(
                checking.KeyValue(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version) for kv in found
            )
            return Response(found.revision, entries, count=found.count)
        case Delete(key):
            deleted = await client.delete(key)
            return Response(deleted.revision, count=deleted.deleted)
        case CompareAndSwap(key, "value", bytes(expected), bytes(value)):
            return _swapped(await client.txn().when(Compare.value(key) == expected).then(PutKey(key, value)).commit())
        case CompareAndSwap(key, "version", 0, bytes(value)):
            return _swapped(await client.txn().when(Compare.absent(key)).then(PutKey(key, value)).commit())
    raise AssertionError(f"nobody asks for {action}")


def _swapped(result: TxnResult) -> Response:
    return Response(result.revision, succeeded=result.succeeded)


def logged(decided: list[Value]) -> list[LoggedSlot]:
    """A node's decided slots as the checker reads them.

    A request that was sent again stands in the log more than once, and the first copy counts: the history does not know
    the sessions that clients and nodes use, so the others are left out as if they asked for nothing.
    """
    slots = []
    seen: set[tuple[int, int]] = set()
    for slot, value in enumerate(decided):
        if isinstance(value, Application):
            batch = CommandBatch.FromString(value.data)
            commands = tuple(_command(entry, seen) for entry in batch.entries)
        else:
            commands = (Command(Opaque(encode_value(value))),)
        slots.append((slot, commands))
    return slots


def _command(entry: Entry, seen: set[tuple[int, int]]) -> Command:
    if entry.session and (entry.session, entry.sequence) in seen:
        return Command(Opaque(entry.SerializeToString(deterministic=True)))
    seen.add((entry.session, entry.sequence))
    match entry.WhichOneof("command"):
        case "put":
            return Command(Put(entry.put.key, entry.put.value))
        case "delete_range":
            return Command(Delete(entry.delete_range.key, entry.delete_range.range_end))
        case "txn":
            (compare,), (operation,) = entry.txn.compare, entry.txn.success
            key, value = compare.key, operation.request_put.value
            if compare.target == rpc.Compare.VALUE:
                return Command(CompareAndSwap(key, "value", compare.value, value))
            return Command(CompareAndSwap(key, "version", compare.version, value))
        case _:
            return Command(Opaque(entry.SerializeToString(deterministic=True)))
