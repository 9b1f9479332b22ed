"""The asyncio client: a future for each call, and the engine of its session underneath.

The same methods as the blocking client's, awaited; many may run at once, and those that begin in the same turn of the
event loop travel in one message. Connections are made when first needed, on the event loop that runs then, and kept:
one client belongs to one loop. A cancelled call that was not sent yet never will be; a cancelled write that was sent
may or may not be done, as after an ``UnknownOutcome``.
"""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self, TypeVar

from kvclient import calls
from kvclient.calls import Call
from kvclient.core import Core, StreamUnsupported
from kvclient.endpoints import DEFAULT_ENDPOINT
from kvclient.keys import Text, between, one, starting_with, to_bytes
from kvclient.results import DeleteResult, EndpointStatus, KeyValue, Member, PutResult, RangeResult, TxnResult
from kvclient.session.pending import REQUEST_BYTES_MAX, Pending, carries
from kvclient.shell import DEFAULT_TIMEOUT_S, Shell, remaining
from kvclient.transaction import TransactionParts

__all__ = ["AsyncClient", "AsyncTransaction"]

T = TypeVar("T")


class AsyncClient:
    """Talks to one of ``endpoints`` and moves on to the next where that is safe.

    ``timeout`` bounds a whole call in seconds, all its attempts and pauses included; each method takes its own.
    Every method raises a ``KvError``, and a write an ``UnknownOutcome`` where its fate is unknown. A client for a call
    or two need not be ``pipelined``: to open a session is a write of its own.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str] = DEFAULT_ENDPOINT,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        pipelined: bool = True,
    ) -> None:
        self._shell = Shell(endpoints, timeout_s=timeout)
        self._core = Core(self._shell, pipelined=pipelined)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The servers, as host:port."""
        return self._shell.endpoints

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Calls that are under way end with an error."""
        await self._core.close()

    # --- reads ---

    async def get(
        self, key: Text, *, revision: int = 0, serializable: bool = False, timeout: float | None = None
    ) -> KeyValue | None:
        """The key now, or as of ``revision``; None if it is absent.

        Linearizable, unless ``serializable``: then the endpoint answers from what it has, which may be old.
        """
        pipeline = self._core.pipeline()
        if pipeline is None or revision or serializable or len(key) > REQUEST_BYTES_MAX:
            return await self._run(calls.get(key, revision=revision, serializable=serializable), timeout)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._shell.timeout(timeout)
        handle: asyncio.Future[KeyValue | None] = loop.create_future()
        pending = Pending.get(to_bytes(key), deadline=deadline, handle=handle)
        pipeline.submit(pending)
        try:
            return await handle
        except asyncio.CancelledError:
            pipeline.abandon(pending)
            raise
        except StreamUnsupported:
            pass
        call = calls.get(key, revision=0, serializable=False)
        return await self._core.run_alone(call, remaining(deadline, loop.time()))

    async def range(
        self,
        start: Text,
        end: Text | None,
        *,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        serializable: bool = False,
        descending: bool = False,
        timeout: float | None = None,
    ) -> RangeResult:
        """All keys k with ``start`` ≤ k < ``end``, in order; from ``start`` on with ``end`` None. ``limit`` 0: all."""
        call = calls.range_(
            between(start, end),
            limit=limit,
            revision=revision,
            keys_only=keys_only,
            count_only=count_only,
            serializable=serializable,
            descending=descending,
        )
        return await self._run(call, timeout)

    async def get_prefix(
        self,
        prefix: Text,
        *,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        serializable: bool = False,
        descending: bool = False,
        timeout: float | None = None,
    ) -> RangeResult:
        """All keys that begin with ``prefix``, in order; every key for the empty one."""
        call = calls.range_(
            starting_with(prefix),
            limit=limit,
            revision=revision,
            keys_only=keys_only,
            count_only=count_only,
            serializable=serializable,
            descending=descending,
        )
        return await self._run(call, timeout)

    # --- writes ---

    async def put(self, key: Text, value: Text, *, timeout: float | None = None) -> PutResult:
        """Set the key's value."""
        key, value = to_bytes(key), to_bytes(value)
        timeout_s = self._shell.timeout(timeout)
        pipeline = self._core.pipeline()
        if pipeline is None or len(key) + len(value) > REQUEST_BYTES_MAX:
            return await self._core.run_alone(calls.put(key, value), timeout_s)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        handle: asyncio.Future[PutResult] = loop.create_future()
        pending = Pending.put(key, value, deadline=deadline, handle=handle)
        pipeline.submit(pending)
        try:
            return await handle
        except asyncio.CancelledError:
            pipeline.abandon(pending)
            raise
        except StreamUnsupported:
            pass
        return await self._core.run_alone(calls.put(key, value), remaining(deadline, loop.time()))

    async def delete(self, key: Text, *, timeout: float | None = None) -> DeleteResult:
        """Delete one key; ``deleted`` is 0 if it was absent."""
        return await self._run(calls.delete(one(key)), timeout)

    async def delete_prefix(self, prefix: Text, *, timeout: float | None = None) -> DeleteResult:
        """Delete all keys that begin with ``prefix``; every key for the empty one."""
        return await self._run(calls.delete(starting_with(prefix)), timeout)

    async def delete_range(self, start: Text, end: Text | None, *, timeout: float | None = None) -> DeleteResult:
        """Delete all keys k with ``start`` ≤ k < ``end``; from ``start`` on with ``end`` None."""
        return await self._run(calls.delete(between(start, end)), timeout)

    async def compare_and_swap(
        self, key: Text, expected: Text | None, new: Text, *, timeout: float | None = None
    ) -> bool:
        """Put ``new`` if the value is ``expected``, or with None if the key is absent. Whether it did."""
        return await self._run(calls.compare_and_swap(key, expected, new), timeout)

    def txn(self) -> "AsyncTransaction":
        """A transaction to be built: ``await client.txn().when(...).then(...).commit()``."""
        return AsyncTransaction(self)

    # --- the cluster ---

    async def status(self, *, timeout: float | None = None) -> tuple[EndpointStatus, ...]:
        """What each endpoint says about itself, asked all at once; one that does not answer has its ``error`` set."""
        return await self._core.statuses(self._shell.timeout(timeout))

    async def members(self, *, timeout: float | None = None) -> tuple[Member, ...]:
        """The nodes of the cluster."""
        return await self._core.run_alone(calls.members(), timeout)

    # --- on their way ---

    async def _run(self, call: Call[T], timeout: float | None) -> T:
        timeout_s = self._shell.timeout(timeout)
        pipeline = self._core.pipeline()
        if pipeline is None or not carries(call, is_open=pipeline.is_open):
            return await self._core.run_alone(call, timeout_s)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        try:
            pending = Pending.of(call, deadline=deadline, handle=loop.create_future())
            result: T = await self._core.through(pipeline, pending)
            return result
        except StreamUnsupported:
            pass
        return await self._core.run_alone(call, remaining(deadline, loop.time()))


class AsyncTransaction(TransactionParts):
    """A transaction of an ``AsyncClient``, being built; see ``kvclient.transaction``."""

    def __init__(self, client: AsyncClient) -> None:
        super().__init__()
        self._client = client

    async def commit(self, *, timeout: float | None = None) -> TxnResult:
        """Do it: all of one branch, at one revision."""
        return await self._client._run(calls.transaction(self), timeout)  # noqa: SLF001  # the client's other half
