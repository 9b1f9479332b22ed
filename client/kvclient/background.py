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
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

__all__ = ["Background", "Waiter", "check_not_forked"]

T = TypeVar("T")

_lock = threading.Lock()
_current: "Background | None" = None
_was_used = False
_is_child = False


class Background:
    """A loop in a thread, shared; ``acquire`` and ``release`` it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(_handle)
        self._users = 0
        self._thread = threading.Thread(target=self._run, name="kvclient", daemon=True)
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
        global _current  # noqa: PLW0603
        with _lock:
            self._users -= 1
            if self._users:
                return
            if _current is self:
                _current = None
        self.stop()

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
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self.loop.close()


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
        if self._error is not None:
            raise self._error
        return self._result


def check_not_forked() -> None:
    """Raises RuntimeError in the forked child of a process that has had a client."""
    if _is_child:
        raise RuntimeError("this process was forked after a kvclient.Client was made: see kvclient.background")


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Several loops of grpc.aio share one socket that wakes them: all but the first find it empty, and say so."""
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)


def _after_fork() -> None:
    global _current, _lock, _is_child  # noqa: PLW0603
    _is_child = _was_used
    _current = None
    _lock = threading.Lock()


def _at_exit() -> None:
    background = _current
    if background is not None and not _is_child:
        background.stop()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
