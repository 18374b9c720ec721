"""What the application is made of. Importing this does nothing; `make_app` puts it together."""

import re
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application, RequestHandler

from . import COMMAND
from .accounts import SESSION_MAX_AGE, Accounts
from .database import Database
from .handlers.errors import NotFound
from .live import Live
from .routes import QUIET_ROUTES, ROUTES
from .runtime.handlers import Uniform
from .runtime.logs import RequestLog
from .runtime.metrics import Metrics
from .runtime.static_files import StaticFiles
from .settings import Settings

# Resolved once: where `current` is switched to a new release while this process still runs, the
# old process must go on serving its own files.
FOLDER = Path(__file__).resolve().parent

# What `deploy/publish` has made of the static files of this and other releases.
PUBLISHED = Path("published")

# A browser sends the cookies of a host to each of its ports: the names tell two services apart.
COOKIES: dict[str, Any] = {
    "session_cookie_name": f"{COMMAND}-session",
    "xsrf_cookie_name": f"{COMMAND}-xsrf",
}
# Complete, because Tornado adds an expiry of its own to what is not.
XSRF_COOKIE = {
    "samesite": "Lax",
    "path": "/",
    "httponly": True,
    "expires_days": SESSION_MAX_AGE.days,
}


class Receiving(HTTPMessageDelegate):
    """Counts a request as in flight while its body is on the way; a handler does from then on."""

    def __init__(self, app: "Service", delegate: HTTPMessageDelegate) -> None:
        self._app = app
        self._delegate = delegate

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._app.in_flight += 1
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._app.in_flight -= 1
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._app.in_flight -= 1
        self._delegate.on_connection_close()


class Service(Application):
    """The application; its attributes are all that a handler may use."""

    database: Database
    accounts: Accounts
    metrics: Metrics
    request_log: RequestLog
    live: Live
    release: str
    behind_proxy: bool
    draining = False
    in_flight = 0
    silent_since: dict[Any, float]
    https_settings: dict[str, Any]

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Note since when a connection is silent. Tornado calls this when it waits for a request."""
        self.silent_since[server_conn] = time.monotonic()
        return super().start_request(server_conn, request_conn)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Return what takes a request. Tornado calls this as soon as it has the headers."""
        self.silent_since.pop(request.server_connection, None)
        # A path without a pattern is looked up at once; Tornado tries one expression after another.
        if handler := self.settings["exact_routes"].get(request.path):
            delegate = self.get_handler_delegate(request, handler)
        else:
            delegate = super().find_handler(request, **kwargs)
        if "Content-Length" in request.headers or "Transfer-Encoding" in request.headers:
            return Receiving(self, delegate)
        return delegate

    def log_request(self, handler: RequestHandler) -> None:
        """Count and log a request that was answered. Tornado calls this."""
        assert isinstance(handler, Uniform)
        route = self.settings["route_names"].get(type(handler), "unmatched")
        request, status = handler.request, handler.get_status()
        seconds = request.request_time()
        self.metrics.count(request.method or "", route, status, seconds)
        if route not in QUIET_ROUTES or status >= 400:
            self.request_log.add(request, status, seconds, handler.request_id)


def make_app(settings: Settings, database: Database) -> Service:
    """Put the application together for one process.

    It starts nothing, except that Tornado's autoreload, in debug mode, needs a running event loop.
    """
    keys = settings.cookie_keys
    app = Service(
        ROUTES,
        default_handler_class=NotFound,
        static_handler_class=StaticFiles,
        static_path=str(FOLDER / "static"),
        published_path=str(PUBLISHED.resolve()),
        template_path=str(FOLDER / "templates"),
        cookie_secret=keys,
        key_version=next(iter(keys)),
        login_url="/login",
        xsrf_cookies=True,
        xsrf_cookie_kwargs=XSRF_COOKIE,
        cross_origin_protection=True,
        websocket_ping_interval=<< cookiecutter.__ping_seconds >>,
        websocket_ping_timeout=<< cookiecutter.__ping_seconds >>,
        websocket_max_message_size=64 * 1024,
        exact_routes={
            rule.regex.pattern.rstrip("$"): rule.target
            for rule in ROUTES
            if re.fullmatch(r"[\w/-]+\$", rule.regex.pattern) and not rule.kwargs
        },
        route_names={rule.target: rule.regex.pattern.rstrip("$") for rule in ROUTES},
        **COOKIES,
        **settings.debug_flags,
    )
    app.https_settings = app.settings | {
        **{setting: f"__Host-{name}" for setting, name in COOKIES.items()},
        "xsrf_cookie_kwargs": XSRF_COOKIE | {"secure": True},
    }
    app.database = database
    app.accounts = Accounts(database)
    app.silent_since = {}
    app.release = settings.release
    app.behind_proxy = settings.behind_proxy
    app.metrics = Metrics(app.release)
    app.request_log = RequestLog(settings.log_level, readable=settings.debug)
    app.live = Live(app.accounts, app.metrics, settings.port, app.release)
    app.metrics.watch(in_flight=lambda: app.in_flight, websockets=lambda: len(app.live))
    return app
