"""Waiting for something to become true; no test sleeps for a while and hopes."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

# Far longer than anything takes: a longer wait is in vain.
DEADLINE_SECONDS = 20


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Return as soon as the condition holds; fail, naming what was waited for, if it never does."""
    end = time.monotonic() + DEADLINE_SECONDS
    while True:
        holds = condition()
        if inspect.isawaitable(holds):
            holds = await holds
        if holds:
            return
        assert time.monotonic() < end, f"waited {DEADLINE_SECONDS} s in vain for {what}"
        await asyncio.sleep(0.01)
