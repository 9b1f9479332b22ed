"""The blocking client: many threads share one, and their calls share batches.

A call goes into an inbox, and its thread waits on a lock of its own until the loop in the background has the answer;
the loop is woken once for all calls that came while it was busy. So threads that call at the same time travel in one
message, and the stream, the deadlines and everything that is decided are the asyncio client's.

One client may be shared by any number of threads, and belongs to the process that made it: see ``background`` on forks.
"""

import time
import weakref
from collections.abc import Coroutine, Iterable
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar

from kvclient import calls
from kvclient.background import Background, Waiter, check_not_forked, is_forked
from kvclient.calls import Call
from kvclient.core import Core, StreamUnsupported
from kvclient.endpoints import DEFAULT_ENDPOINT
from kvclient.errors import ClientClosed, Code, KvError
from kvclient.keys import Text, between, one, starting_with, to_bytes
from kvclient.results import DeleteResult, EndpointStatus, KeyValue, Member, PutResult, RangeResult, TxnResult
from kvclient.session.pending import REQUEST_BYTES_MAX, Pending, carries
from kvclient.shell import DEFAULT_TIMEOUT_S, Shell, remaining
from kvclient.transaction import TransactionParts

__all__ = ["Client", "Transaction"]

T = TypeVar("T")


class Client:
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
        self._is_pipelined = pipelined
        self._lock = Lock()
        self._inbox: list[Pending] = []
        self._is_woken = False
        self._closed = False
        self._background: Background | None = Background.acquire()
        self._finalizer = weakref.finalize(self, _drop, self._core, self._background)
        self._finalizer.atexit = False  # the background has its own way to end then

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
        """Close the connections. Calls in other threads end with an error, before this returns."""
        check_not_forked()
        with self._lock:
            self._closed = True
            self._finalizer.detach()
            background, self._background = self._background, None
        if background is not None:
            try:
                background.run(self._close())
            finally:
                background.release()

    # --- reads ---

    def get(
        self, key: Text, *, revision: int = 0, serializable: bool = False, timeout: float | None = None
    ) -> KeyValue | None:
        """The key now, or as of ``revision``; None if it is absent.

        Linearizable, unless ``serializable``: then the endpoint answers from what it has, which may be old.
        """
        if not self._is_pipelined or revision or serializable or len(key) > REQUEST_BYTES_MAX:
            return self._run(calls.get(key, revision=revision, serializable=serializable), timeout)
        deadline = time.monotonic() + self._shell.timeout(timeout)
        try:
            result: KeyValue | None = self._through(Pending.get(to_bytes(key), deadline=deadline, handle=Waiter()))
            return result
        except StreamUnsupported:
            self._is_pipelined = False
        return self._alone(calls.get(key, revision=0, serializable=False), deadline)

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
        key, value = to_bytes(key), to_bytes(value)
        deadline = time.monotonic() + self._shell.timeout(timeout)
        if self._is_pipelined and len(key) + len(value) <= REQUEST_BYTES_MAX:
            try:
                result: PutResult = self._through(Pending.put(key, value, deadline=deadline, handle=Waiter()))
                return result
            except StreamUnsupported:
                self._is_pipelined = False
        return self._alone(calls.put(key, value), deadline)

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
        return self._await(self._core.statuses(self._shell.timeout(timeout)))

    def members(self, *, timeout: float | None = None) -> tuple[Member, ...]:
        """The nodes of the cluster."""
        return self._alone(calls.members(), time.monotonic() + self._shell.timeout(timeout))

    # --- on their way ---

    def _run(self, call: Call[T], timeout: float | None) -> T:
        timeout_s = self._shell.timeout(timeout)
        deadline = time.monotonic() + timeout_s
        if self._is_pipelined and carries(call, is_open=self._core.is_open):
            try:
                result: T = self._through(Pending.of(call, deadline=deadline, handle=Waiter()))
                return result
            except StreamUnsupported:
                self._is_pipelined = False
        return self._alone(call, deadline)

    def _through(self, call: Pending) -> Any:
        """The call's result, by way of the stream."""
        check_not_forked()
        background = self._background
        with self._lock:
            if background is None or self._closed:
                raise ClientClosed
            self._inbox.append(call)
            if not self._is_woken:
                self._is_woken = True
                background.loop.call_soon_threadsafe(self._take_inbox)
        try:
            return call.handle.wait()
        except BaseException:
            if not call.handle.done():  # interrupted
                background.loop.call_soon_threadsafe(self._abandon, call)
            raise

    def _alone(self, call: Call[T], deadline: float) -> T:
        return self._await(self._core.run_alone(call, remaining(deadline, time.monotonic())))

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        if is_forked():
            work.close()
            check_not_forked()
        with self._lock:
            background = None if self._closed else self._background
        if background is None:
            work.close()
            raise ClientClosed
        return background.run(work)

    # --- on the background's loop ---

    async def _close(self) -> None:
        self._take_inbox()
        await self._core.close()

    def _take_inbox(self) -> None:
        self._let_others_call()
        with self._lock:
            calls, self._inbox = self._inbox, []
            self._is_woken = False
        for call in calls:
            try:
                pipeline = self._core.pipeline()
                if pipeline is None:
                    raise StreamUnsupported(code=Code.UNIMPLEMENTED, text="", endpoint=self.endpoints[0])
                pipeline.submit(call)
            except KvError as error:
                call.handle.set_exception(error)

    def _let_others_call(self) -> None:
        """Threads that were answered together call again together, and each needs the interpreter for that: whoever is
        ready is let in first, so that one batch carries all. No one ready, no delay.
        """
        waiting = 0
        while len(self._inbox) > waiting:
            waiting = len(self._inbox)
            time.sleep(0)

    def _abandon(self, call: Pending) -> None:
        pipeline = None if self._closed else self._core.pipeline()
        if pipeline is not None:
            pipeline.abandon(call)


def _drop(core: Core, background: Background) -> None:
    """The client is garbage, and nobody has closed it."""
    background.dismiss(core.close)


class Transaction(TransactionParts):
    """A transaction of a ``Client``, being built; see ``kvclient.transaction``."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    def commit(self, *, timeout: float | None = None) -> TxnResult:
        """Do it: all of one branch, at one revision."""
        return self._client._run(calls.transaction(self), timeout)  # noqa: SLF001  # the client's other half
