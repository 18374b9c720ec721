"""Waiting for conditions, so that no test sleeps for a fixed time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

# Far longer than any condition takes.
DEADLINE_SECONDS = 20


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Return as soon as the condition holds; after the deadline fail with its description."""
    end = time.monotonic() + DEADLINE_SECONDS
    while True:
        holds = condition()
        if inspect.isawaitable(holds):
            holds = await holds
        if holds:
            return
        assert time.monotonic() < end, f"waited {DEADLINE_SECONDS} s in vain for {what}"
        await asyncio.sleep(0.01)
