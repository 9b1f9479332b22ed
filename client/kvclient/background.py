"""The thread behind all blocking clients of a process: one event loop, from the first client to the last.

One, not one per client: grpc.aio wakes every loop of a process for each event of any of them.

**Fork.** Neither a thread nor gRPC survives a fork: a client that exists before must not be used in the child, and once
a process has had one, its forked children cannot have their own: both raise RuntimeError there, instead of hanging.
Fork first, or use multiprocessing's "spawn" or "forkserver".
"""

import asyncio
import atexit
import os
import threading
from _thread import allocate_lock
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["Background", "Waiter", "check_not_forked", "is_forked"]

T = TypeVar("T")

_lock = threading.Lock()
_current: "Background | None" = None
_running: "dict[Background, None]" = {}
_was_used = False
_is_child = False


class Background:
    """A loop in a thread, shared; ``acquire`` and ``release`` it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(_handle)
        self._users = 0
        self._ends = asyncio.Event()
        self._dismissal: asyncio.Task[None] | None = None  # the loop itself holds no task
        self._thread = threading.Thread(target=self._run, name="kvclient", daemon=True)
        _running[self] = None
        self._thread.start()

    @classmethod
    def acquire(cls) -> "Background":
        """For one more client."""
        global _current, _was_used  # noqa: PLW0603  # one per process is the point
        check_not_forked()
        with _lock:
            _was_used = True
            if _current is None:
                _current = cls()
            _current._users += 1
            return _current

    def release(self) -> None:
        """One client less; the last one waits for the thread to end."""
        if self._leave():
            self.stop()

    def dismiss(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Closes and releases, for a client that was dropped: from whatever thread, waiting for nothing."""

        async def end() -> None:
            await close()
            if self._leave():
                self._ends.set()

        def begin() -> None:
            self._dismissal = self.loop.create_task(end())

        with suppress(RuntimeError):  # it has ended already
            self.loop.call_soon_threadsafe(begin)

    def _leave(self) -> bool:
        """Whether it was the last one."""
        global _current  # noqa: PLW0603
        with _lock:
            self._users -= 1
            if not self._users and _current is self:
                _current = None
            return not self._users

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The work's result, which the loop gets while this thread waits."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except (KeyboardInterrupt, CancelledError):
            future.cancel()
            raise

    def stop(self) -> None:
        """Ends the thread, and waits for that."""
        with suppress(RuntimeError):  # it is ending already
            self.loop.call_soon_threadsafe(self._ends.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._until_the_end())
        finally:
            self.loop.close()
            del _running[self]

    async def _until_the_end(self) -> None:
        await self._ends.wait()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class Waiter:
    """What a blocked thread waits on: the least that can stand in for a future."""

    __slots__ = ("_done", "_error", "_lock", "_result")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self._done = False
        self._result: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Whether there is a result, or an error."""
        return self._done

    def set_result(self, result: Any) -> None:
        """Wakes the thread."""
        self._result = result
        self._done = True
        self._lock.release()

    def set_exception(self, error: BaseException) -> None:
        """Wakes the thread."""
        self._error = error
        self._done = True
        self._lock.release()

    def wait(self) -> Any:
        """The result, or raises the error. Once."""
        self._lock.acquire()
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error  # or its traceback would keep this frame, and the client, alive


def is_forked() -> bool:
    """Whether this is the forked child of a process that has had a client."""
    return _is_child


def check_not_forked() -> None:
    """Raises RuntimeError if it is."""
    if _is_child:
        raise RuntimeError("this process was forked after a kvclient.Client was made: see kvclient.background")


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """All loops of grpc.aio share one socket that wakes them. Those that find it empty say so, and so do those that
    find the last events of a loop that is no more: nothing is wrong with either.
    """
    if "PollerCompletionQueue" not in str(context.get("message")):
        loop.default_exception_handler(context)


def _after_fork() -> None:
    global _current, _lock, _is_child  # noqa: PLW0603
    _is_child = _was_used
    _current = None
    _running.clear()
    _lock = threading.Lock()


def _at_exit() -> None:
    for background in list(_running):
        background.stop()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
