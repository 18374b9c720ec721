"""The WebSocket behind the live panel on the home page."""

import contextlib
from asyncio import Future
from collections.abc import Awaitable
from typing import Any

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ..live import SIGNED_OUT
from ..runtime.handlers import Identified


class LiveSocket(Identified, WebSocketHandler):
    """Joins the browsers that `Live` tells how this process is doing."""

    session_id: int
    _sending: "Future[None] | None" = None

    def prepare(self) -> Awaitable[None] | None:
        if self.application.draining:
            # Tornado would close the connection right behind its 101, without a word to the browser.
            # Where there is no answer at all, the balancer asks another process.
            self.detach().close()
            self.on_finish()
            return None
        return super().prepare()

    def open(self, *args: str, **kwargs: str) -> None:
        if self.current_user is None:
            self.close(SIGNED_OUT, "signed out")
        else:
            self.session_id = self.current_user.session_id
            self.application.live.join(self)

    def on_close(self) -> None:
        self.application.live.leave(self)

    def on_message(self, message: str | bytes) -> Any:
        """Nothing: the panel only listens."""

    def send(self, message: str) -> None:
        """Send a message, unless the one before is still on its way.

        Whoever reads too slowly misses messages instead of filling the memory.
        """
        if self._sending is None or self._sending.done():
            with contextlib.suppress(WebSocketClosedError):
                self._sending = self.write_message(message)
                # A connection lost on the way is nothing to report.
                self._sending.add_done_callback(Future.exception)
