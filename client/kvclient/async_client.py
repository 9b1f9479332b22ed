"""The asyncio client: carries bytes, sleeps, reads the clock. Everything that is decided is decided elsewhere.

The same methods as the blocking client's, awaited; many may run at once. Connections are made when first needed, on the
event loop that runs then, and kept. A cancelled write may or may not have been done.
"""

import asyncio
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio

from kvclient import calls
from kvclient.attempts import Attempt
from kvclient.calls import Call
from kvclient.decisions import Failure
from kvclient.endpoints import DEFAULT_ENDPOINT
from kvclient.errors import ClientClosed, Code
from kvclient.keys import Text, between, one, starting_with
from kvclient.results import DeleteResult, EndpointStatus, KeyValue, Member, PutResult, RangeResult, TxnResult
from kvclient.shell import DEFAULT_TIMEOUT_S, Shell, answer_of, closed_failure, failure_of, status_of
from kvclient.transaction import TransactionParts

__all__ = ["AsyncClient", "AsyncTransaction"]

T = TypeVar("T")


class AsyncClient:
    """Talks to one of ``endpoints`` and moves on to the next where that is safe.

    ``timeout`` bounds a whole call in seconds, all its attempts and pauses included; each method takes its own.
    Every method raises a ``KvError``, and a write an ``UnknownOutcome`` where its fate is unknown.
    """

    def __init__(
        self, endpoints: str | Iterable[str] = DEFAULT_ENDPOINT, *, timeout: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self._shell = Shell(endpoints, timeout_s=timeout)
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._closed = False

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
        self._closed = True
        channels = list(self._channels.values())
        self._channels.clear()
        await asyncio.gather(*(channel.close(grace=None) for channel in channels))

    # --- reads ---

    async def get(
        self, key: Text, *, revision: int = 0, serializable: bool = False, timeout: float | None = None
    ) -> KeyValue | None:
        """The key now, or as of ``revision``; None if it is absent.

        Linearizable, unless ``serializable``: then the endpoint answers from what it has, which may be old.
        """
        return await self._run(calls.get(key, revision=revision, serializable=serializable), timeout)

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
        return await self._run(calls.put(key, value), timeout)

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
        timeout_s = self._shell.timeout(timeout)

        async def ask(endpoint: str) -> EndpointStatus:
            call = calls.status(endpoint)
            answer = await self._send(call, Attempt(endpoint, pause_s=0.0, timeout_s=timeout_s))
            return status_of(call, endpoint, answer)

        return tuple(await asyncio.gather(*map(ask, self.endpoints)))

    async def members(self, *, timeout: float | None = None) -> tuple[Member, ...]:
        """The nodes of the cluster."""
        return await self._run(calls.members(), timeout)

    # --- carrying bytes ---

    async def _run(self, call: Call[T], timeout: float | None) -> T:
        attempts = self._shell.attempts(call, timeout_s=timeout)
        attempt = attempts.first()
        try:
            while True:
                if attempt.pause_s:
                    await asyncio.sleep(attempt.pause_s)
                answer = await self._send(call, attempt)
                result = answer if isinstance(answer, Failure) else attempts.result_in(answer)
                if not isinstance(result, Failure):
                    return result
                attempt = attempts.failed(result, now=time.monotonic())
        finally:
            self._shell.preferred = attempts.preferred

    async def _send(self, call: Call[T], attempt: Attempt) -> bytes | Failure:
        """Send once. grpc's exceptions end here: what is raised later does not even have them as its context."""
        method = self._method(call, attempt.endpoint)
        try:
            sent = method(call.payload, timeout=attempt.timeout_s, metadata=call.metadata, wait_for_ready=False)
            return answer_of(await sent, endpoint=attempt.endpoint)
        except grpc.RpcError as error:
            return failure_of(error, endpoint=attempt.endpoint)
        except asyncio.CancelledError:
            # Closing the client cancels its calls: then this is news about the call, not a wish to end the task.
            task = asyncio.current_task()
            if not self._closed or (task is not None and task.cancelling()):
                raise
            return closed_failure(attempt.endpoint)
        except KeyError as status:  # how grpc.aio, unlike grpc, takes a status that it has no name for
            return Failure(Code.UNKNOWN, f"status {status}", attempt.endpoint)
        except grpc.aio.UsageError:  # how grpc says that the channel has been closed meanwhile
            pass
        raise ClientClosed

    def _method(self, call: Call[T], endpoint: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
        if self._closed:
            raise ClientClosed
        channel = self._channels.get(endpoint)
        if channel is None:
            channel = self._channels[endpoint] = grpc.aio.insecure_channel(
                endpoint, options=self._shell.channel_options
            )
        return channel.unary_unary(call.method, None, None)  # None: bytes as they are


class AsyncTransaction(TransactionParts):
    """A transaction of an ``AsyncClient``, being built; see ``kvclient.transaction``."""

    def __init__(self, client: AsyncClient) -> None:
        super().__init__()
        self._client = client

    async def commit(self, *, timeout: float | None = None) -> TxnResult:
        """Do it: all of one branch, at one revision."""
        return await self._client._run(calls.transaction(self), timeout)  # noqa: SLF001  # the client's other half
