# Part of the template: you need not edit this file.
"""WebSockets: the base class, and the open ones of a process, which a drain closes."""

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
        """Add a new WebSocket; close it if the process is closing all."""
        self._open.add(socket)
        if self._closing:
            socket.close(SERVICE_RESTART, "restarting")

    def leave(self, socket: "SocketHandler") -> None:
        """Remove a closed WebSocket."""
        self._open.discard(socket)

    def close(self) -> None:
        """Close all WebSockets, current and future, so that browsers connect to another process."""
        self._closing = True
        for socket in list(self._open):
            socket.close(SERVICE_RESTART, "restarting")


class SocketHandler(SessionHandler, WebSocketHandler):
    """A WebSocket that knows its user. `open` and `on_close` are the subclass's own."""

    _sending: "Future[None] | None" = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "open" in cls.__dict__:
            cls.open = runs_first(cls._join, cls.open)  # type: ignore[method-assign]

    def load_session(self) -> Awaitable[None] | None:
        connections: Connections = self.settings["connections"]
        if connections.draining:
            # Tornado would answer 101 and close the connection without a close frame. Without any
            # answer the balancer tries another process.
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
        """Ignore messages of the browser; a subclass may handle them."""

    def send(self, message: str) -> None:
        """Send a message, unless the previous one is still being sent.

        A client that reads too slowly misses messages instead of filling the memory.
        """
        if self._sending is None or self._sending.done():
            with contextlib.suppress(WebSocketClosedError):
                self._sending = self.write_message(message)
                # A lost connection needs no report.
                self._sending.add_done_callback(Future.exception)
