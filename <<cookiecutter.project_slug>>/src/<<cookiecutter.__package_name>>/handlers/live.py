"""The WebSocket behind the live panel on the home page."""

from ..live import SIGNED_OUT, Live
from .base import SocketHandler


class LiveSocket(SocketHandler):
    """Subscribes a browser to the figures of this process that `Live` sends."""

    session_id: int

    @property
    def live(self) -> Live:
        live: Live = self.settings["live"]
        return live

    def open(self, *args: str, **kwargs: str) -> None:
        if self.current_user is None:
            self.close(SIGNED_OUT, "signed out")
        else:
            self.session_id = self.current_user.session_id
            self.live.join(self)

    def on_close(self) -> None:
        self.live.leave(self)
