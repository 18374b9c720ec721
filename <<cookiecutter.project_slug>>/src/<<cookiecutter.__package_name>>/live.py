"""Sends the figures of this process, each second, to every browser with an open panel."""

import asyncio
import contextlib
import json
import os
import time
from typing import Protocol

from .accounts import Accounts
from .database import DATABASE_ERRORS
from .runtime.metrics import Metrics

SIGNED_OUT = 4401
SESSIONS_CHECKED_EVERY = 5


class Panel(Protocol):
    """The WebSocket of a browser with an open panel."""

    session_id: int

    def send(self, message: str) -> None: ...

    def close(self, code: int | None = None, reason: str | None = None) -> None: ...


class Live:
    """The open panels of one process."""

    def __init__(self, accounts: Accounts, metrics: Metrics, port: int, release: str) -> None:
        self._accounts = accounts
        self._metrics = metrics
        self._port = port
        self._release = release
        self._started = time.monotonic()
        self._panels: set[Panel] = set()

    def __len__(self) -> int:
        return len(self._panels)

    def join(self, panel: Panel) -> None:
        self._panels.add(panel)
        panel.send(self._message())

    def leave(self, panel: Panel) -> None:
        self._panels.discard(panel)

    async def run(self) -> None:
        """Send a message each second until cancelled."""
        for second in range(10**9):
            await asyncio.sleep(1)
            if not self._panels:
                continue
            message = self._message()
            for panel in self._panels:
                panel.send(message)
            if second % SESSIONS_CHECKED_EVERY == 0:
                await self._drop_signed_out()

    def _message(self) -> str:
        return json.dumps(
            {
                "port": self._port,
                "pid": os.getpid(),
                "release": self._release,
                "uptime_seconds": round(time.monotonic() - self._started, 1),
                "connections": len(self._panels),
                "lag_milliseconds": round(self._metrics.lag_seconds * 1000, 2),
            }
        )

    async def _drop_signed_out(self) -> None:
        panels = self._panels.copy()
        with contextlib.suppress(*DATABASE_ERRORS):
            living = await self._accounts.living({panel.session_id for panel in panels})
            for panel in panels:
                if panel.session_id not in living:
                    panel.close(SIGNED_OUT, "signed out")
