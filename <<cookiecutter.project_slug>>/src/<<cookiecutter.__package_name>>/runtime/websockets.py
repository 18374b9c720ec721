# Part of the template: you need not edit this file.
"""WebSockets: the base class, and the open ones of a process, which a drain sends elsewhere."""

import contextlib
import weakref
from asyncio import Future
from collections.abc import Awaitable
from typing import Any

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from .connections import Connections
from .handlers import SessionHandler, runs_first

SERVICE_RESTART = 1012


class WebSockets:
    """The open WebSockets of one process."""

    def __init__(self) -> None:
        self._open: weakref.WeakSet[SocketHandler] = weakref.WeakSet()
        self._closing = False

    def __len__(self) -> int:
        return len(self._open)

    def join(self, socket: "SocketHandler") -> None:
        """Count a WebSocket that was opened; close it where all are being closed."""
        self._open.add(socket)
        if self._closing:
            socket.close(SERVICE_RESTART, "restarting")

    def leave(self, socket: "SocketHandler") -> None:
        """Count a WebSocket out that was closed."""
        self._open.discard(socket)

    def close(self) -> None:
        """Have every browser connect again, to another process, now and from now on."""
        self._closing = True
        for socket in list(self._open):
            socket.close(SERVICE_RESTART, "restarting")


class SocketHandler(SessionHandler, WebSocketHandler):
    """A WebSocket that knows who is signed in. `open` and `on_close` are the subclass's own."""

    _sending: "Future[None] | None" = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "open" in cls.__dict__:
            cls.open = runs_first(cls._join, cls.open)  # type: ignore[method-assign]

    def load_session(self) -> Awaitable[None] | None:
        connections: Connections = self.settings["connections"]
        if connections.draining:
            # Tornado would close the connection right behind its 101, without a word to the browser.
            # Where there is no answer at all, the balancer asks another process.
            self.detach().close()
            connections.end(self.request)
            return None
        return super().load_session()

    def open(self, *args: str, **kwargs: str) -> Awaitable[None] | None:
        self._join()
        return None

    def _join(self) -> None:
        self.settings["websockets"].join(self)

    def on_connection_close(self) -> None:
        self.settings["websockets"].leave(self)
        super().on_connection_close()

    def on_message(self, message: str | bytes) -> Any:
        """Ignore what the browser sends, until a subclass does otherwise."""

    def send(self, message: str) -> None:
        """Send a message, unless the one before is still on its way.

        A client that reads too slowly misses messages instead of filling the memory.
        """
        if self._sending is None or self._sending.done():
            with contextlib.suppress(WebSocketClosedError):
                self._sending = self.write_message(message)
                # A connection lost on the way is nothing to report.
                self._sending.add_done_callback(Future.exception)
