"""Tells every browser with an open panel, each second, how the process that serves it is doing."""

import asyncio
import contextlib
import json
import os
import time
from typing import TYPE_CHECKING

from .accounts import Accounts
from .database import DATABASE_ERRORS
from .runtime.metrics import Metrics

if TYPE_CHECKING:
    from .handlers.live import LiveSocket

SERVICE_RESTART = 1012
SIGNED_OUT = 4401
SESSIONS_CHECKED_EVERY = 5


class Live:
    """The open WebSockets of one process."""

    def __init__(self, accounts: Accounts, metrics: Metrics, port: int, release: str) -> None:
        self._accounts = accounts
        self._metrics = metrics
        self._port = port
        self._release = release
        self._started = time.monotonic()
        self._sockets: set[LiveSocket] = set()
        self._closing = False

    def __len__(self) -> int:
        return len(self._sockets)

    def join(self, socket: "LiveSocket") -> None:
        self._sockets.add(socket)
        if self._closing:
            socket.close(SERVICE_RESTART, "restarting")
        else:
            socket.send(self._message())

    def leave(self, socket: "LiveSocket") -> None:
        self._sockets.discard(socket)

    def close(self) -> None:
        """Send everybody away to another process, now and from now on."""
        self._closing = True
        for socket in self._sockets.copy():
            socket.close(SERVICE_RESTART, "restarting")

    async def run(self) -> None:
        """Send a message each second, for ever."""
        for second in range(10**9):
            await asyncio.sleep(1)
            if not self._sockets:
                continue
            message = self._message()
            for socket in self._sockets:
                socket.send(message)
            if second % SESSIONS_CHECKED_EVERY == 0:
                await self._drop_signed_out()

    def _message(self) -> str:
        return json.dumps(
            {
                "port": self._port,
                "pid": os.getpid(),
                "release": self._release,
                "uptime_seconds": round(time.monotonic() - self._started, 1),
                "connections": len(self._sockets),
                "lag_milliseconds": round(self._metrics.lag_seconds * 1000, 2),
            }
        )

    async def _drop_signed_out(self) -> None:
        sockets = self._sockets.copy()
        with contextlib.suppress(*DATABASE_ERRORS):
            living = await self._accounts.living({s.session_id for s in sockets})
            for socket in sockets:
                if socket.session_id not in living:
                    socket.close(SIGNED_OUT, "signed out")
