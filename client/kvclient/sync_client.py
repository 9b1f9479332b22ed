"""The blocking client: carries bytes, sleeps, reads the clock. Everything that is decided is decided elsewhere.

One client may be shared by threads. Connections are made when first needed and kept. gRPC's blocking channels move only
while a call is under way: between calls they neither notice that a server has gone, so that the next write breaks with
its outcome unknown, nor finish connecting again. Whoever subscribes to a channel's connectivity gets a thread that
keeps it moving: hence the subscriptions. That thread looks up every 0.2 s, and ``close`` waits for it.
"""

import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self, TypeVar

import grpc

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

__all__ = ["Client", "Transaction"]

T = TypeVar("T")


class Client:
    """Talks to one of ``endpoints`` and moves on to the next where that is safe.

    ``timeout`` bounds a whole call in seconds, all its attempts and pauses included; each method takes its own.
    Every method raises a ``KvError``, and a write an ``UnknownOutcome`` where its fate is unknown. A client that makes
    one call and is closed need not ``watch_connections``: it then closes at once.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str] = DEFAULT_ENDPOINT,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
        watch_connections: bool = True,
    ) -> None:
        self._shell = Shell(endpoints, timeout_s=timeout)
        self._watch_connections = watch_connections
        self._lock = threading.Lock()
        self._channels: dict[str, grpc.Channel] = {}
        self._closed = False

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The servers, as host:port."""
        return self._shell.endpoints

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Calls in other threads end with an error."""
        with self._lock:
            self._closed = True
            channels = list(self._channels.values())
            self._channels.clear()
        for channel in channels:
            channel.close()

    # --- reads ---

    def get(
        self, key: Text, *, revision: int = 0, serializable: bool = False, timeout: float | None = None
    ) -> KeyValue | None:
        """The key now, or as of ``revision``; None if it is absent.

        Linearizable, unless ``serializable``: then the endpoint answers from what it has, which may be old.
        """
        return self._run(calls.get(key, revision=revision, serializable=serializable), timeout)

    def range(
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
        return self._run(call, timeout)

    def get_prefix(
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
        return self._run(call, timeout)

    # --- writes ---

    def put(self, key: Text, value: Text, *, timeout: float | None = None) -> PutResult:
        """Set the key's value."""
        return self._run(calls.put(key, value), timeout)

    def delete(self, key: Text, *, timeout: float | None = None) -> DeleteResult:
        """Delete one key; ``deleted`` is 0 if it was absent."""
        return self._run(calls.delete(one(key)), timeout)

    def delete_prefix(self, prefix: Text, *, timeout: float | None = None) -> DeleteResult:
        """Delete all keys that begin with ``prefix``; every key for the empty one."""
        return self._run(calls.delete(starting_with(prefix)), timeout)

    def delete_range(self, start: Text, end: Text | None, *, timeout: float | None = None) -> DeleteResult:
        """Delete all keys k with ``start`` ≤ k < ``end``; from ``start`` on with ``end`` None."""
        return self._run(calls.delete(between(start, end)), timeout)

    def compare_and_swap(self, key: Text, expected: Text | None, new: Text, *, timeout: float | None = None) -> bool:
        """Put ``new`` if the value is ``expected``, or with None if the key is absent. Whether it did."""
        return self._run(calls.compare_and_swap(key, expected, new), timeout)

    def txn(self) -> "Transaction":
        """A transaction to be built: ``client.txn().when(...).then(...).otherwise(...).commit()``."""
        return Transaction(self)

    # --- the cluster ---

    def status(self, *, timeout: float | None = None) -> tuple[EndpointStatus, ...]:
        """What each endpoint says about itself, asked all at once; one that does not answer has its ``error`` set."""
        timeout_s = self._shell.timeout(timeout)
        asked = [calls.status(endpoint) for endpoint in self.endpoints]
        attempts = [Attempt(endpoint, pause_s=0.0, timeout_s=timeout_s) for endpoint in self.endpoints]
        pending = list(map(self._begin, asked, attempts))
        return tuple(
            status_of(call, attempt.endpoint, self._end(future, attempt))
            for call, attempt, future in zip(asked, attempts, pending, strict=True)
        )

    def members(self, *, timeout: float | None = None) -> tuple[Member, ...]:
        """The nodes of the cluster."""
        return self._run(calls.members(), timeout)

    # --- carrying bytes ---

    def _run(self, call: Call[T], timeout: float | None) -> T:
        attempts = self._shell.attempts(call, timeout_s=timeout)
        attempt = attempts.first()
        try:
            while True:
                if attempt.pause_s:
                    time.sleep(attempt.pause_s)
                answer = self._send(call, attempt)
                result = answer if isinstance(answer, Failure) else attempts.result_in(answer)
                if not isinstance(result, Failure):
                    return result
                attempt = attempts.failed(result, now=time.monotonic())
        finally:
            self._shell.preferred = attempts.preferred

    def _send(self, call: Call[T], attempt: Attempt) -> bytes | Failure:
        """Send once. grpc's exceptions end here: what is raised later does not even have them as its context."""
        method = self._method(call, attempt.endpoint)
        try:
            payload = method(call.payload, timeout=attempt.timeout_s, metadata=call.metadata, wait_for_ready=False)
            return answer_of(payload, endpoint=attempt.endpoint)
        except grpc.RpcError as error:
            return self._failure(error, attempt)
        except ValueError:  # how grpc says that another thread has closed the channel meanwhile
            pass
        raise ClientClosed

    def _begin(self, call: Call[T], attempt: Attempt) -> "grpc.CallFuture[bytes]":
        """The first half of ``_send``, for many at once."""
        method = self._method(call, attempt.endpoint)
        try:
            return method.future(call.payload, timeout=attempt.timeout_s, metadata=call.metadata, wait_for_ready=False)
        except ValueError:
            pass
        raise ClientClosed

    def _end(self, future: "grpc.CallFuture[bytes]", attempt: Attempt) -> bytes | Failure:
        try:
            return answer_of(future.result(), endpoint=attempt.endpoint)
        except grpc.RpcError as error:
            return self._failure(error, attempt)

    def _failure(self, error: grpc.RpcError, attempt: Attempt) -> Failure:
        failure = failure_of(error, endpoint=attempt.endpoint)
        if self._closed and failure.code is Code.CANCELLED:
            return closed_failure(attempt.endpoint)
        return failure

    def _method(self, call: Call[T], endpoint: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
        with self._lock:
            if self._closed:
                raise ClientClosed
            channel = self._channels.get(endpoint)
            if channel is None:
                channel = grpc.insecure_channel(endpoint, options=self._shell.channel_options)
                if self._watch_connections:
                    channel.subscribe(_ignore)  # for its thread, see the module's docstring
                self._channels[endpoint] = channel
            return channel.unary_unary(call.method, None, None)  # None: bytes as they are


def _ignore(_: grpc.ChannelConnectivity) -> None:
    """Nobody wants the news of a connection; only that somebody listens for them."""


class Transaction(TransactionParts):
    """A transaction of a ``Client``, being built; see ``kvclient.transaction``."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    def commit(self, *, timeout: float | None = None) -> TxnResult:
        """Do it: all of one branch, at one revision."""
        return self._client._run(calls.transaction(self), timeout)  # noqa: SLF001  # the client's other half
