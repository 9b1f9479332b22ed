"""How tests wait: for a condition, for as long as a busy machine may need, and never for a time."""

import asyncio
from collections.abc import Callable

from kvstore.server.processes import wait_until

__all__ = ["WAIT_S", "until", "until_blocking"]

WAIT_S = 60.0
_POLL_S = 0.005


async def until(condition: Callable[[], object]) -> None:
    """Lets the loop work until ``condition`` holds. Raises TimeoutError."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(_POLL_S)


def until_blocking(condition: Callable[[], bool]) -> None:
    """The same for a thread without a loop."""
    assert wait_until(condition, timeout_s=WAIT_S), "it did not come true"
