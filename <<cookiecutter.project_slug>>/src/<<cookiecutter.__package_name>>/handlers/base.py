"""The base classes of your handlers: those of the runtime, with your accounts."""

from ..accounts import Accounts, CurrentUser
from ..runtime import handlers, websockets


class Shared(handlers.SessionHandler):
    """Shared by your pages, endpoints and WebSockets. Add what several of them need."""

    current_user: CurrentUser | None

    @property
    def accounts(self) -> Accounts:
        accounts: Accounts = self.settings["accounts"]
        return accounts


class PageHandler(Shared, handlers.PageHandler):
    """A page: answers with HTML, its errors included."""


class APIHandler(Shared, handlers.APIHandler):
    """An endpoint: answers with JSON, its errors included."""


class SocketHandler(Shared, websockets.SocketHandler):
    """A WebSocket."""
