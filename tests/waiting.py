"""How tests wait: for a condition, for as long as a busy machine may need, and never for a time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from kvstore.server.processes import wait_until

__all__ = ["WAIT_S", "underway", "until", "until_blocking"]

T = TypeVar("T")

WAIT_S = 60.0
_LOOK_EVERY_S = 0.005


async def until(condition: Callable[[], object]) -> None:
    """Lets the loop work until ``condition`` holds; what it raises is raised. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    came_true = loop.create_future()

    def look() -> None:
        """Again and again: what is waited for has no event of its own."""
        if came_true.done():
            return  # time is up
        try:
            if condition():
                came_true.set_result(None)
            else:
                loop.call_later(_LOOK_EVERY_S, look)
        except Exception as error:
            came_true.set_exception(error)

    look()
    async with asyncio.timeout(WAIT_S):
        await came_true


async def underway(call: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """A task for ``call``, once it has got as far as it gets without waiting for anything."""
    begun = asyncio.Event()

    async def run() -> T:
        begun.set()
        return await call

    task = asyncio.create_task(run())
    await begun.wait()
    return task


def until_blocking(condition: Callable[[], bool]) -> None:
    """The same for a thread without a loop."""
    assert wait_until(condition, timeout_s=WAIT_S), "it did not come true"
