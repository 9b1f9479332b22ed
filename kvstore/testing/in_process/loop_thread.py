"""An event loop in a thread of its own, for callers that block; and what gRPC leaves behind in it, tidied up.

gRPC's asyncio half has one poller for the whole process, which wakes every loop for every event. The loop that comes
too late finds nothing, and that is reported as an error in a callback, though nothing is wrong. While a loop thread
runs, these reports are dropped, from every loop: the tests' own as well. And gRPC's servers are reference cycles, whose
collection ends the poller's thread: without one, a stopped loop would leave that thread for the collector to find.
"""

import asyncio
import gc
import logging
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """Runs from the construction to ``stop``."""

    def __init__(self, name: str) -> None:
        self._quiet = _NoLateWakeUps()
        logging.getLogger("asyncio").addFilter(self._quiet)
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=name, daemon=True)
        self._thread.start()
        self._started.wait()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` returns or raises; who is interrupted while waiting cancels it."""
        assert threading.current_thread() is not self._thread, "the loop's own thread would wait for itself"
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Whatever still runs in the loop is cancelled."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        gc.collect()
        logging.getLogger("asyncio").removeFilter(self._quiet)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._started.set()
        await self._stopping.wait()


class _NoLateWakeUps(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        late = record.exc_info and isinstance(record.exc_info[1], BlockingIOError)
        return not (late and "PollerCompletionQueue._handle_events" in record.getMessage())
