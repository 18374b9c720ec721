"""What the application is made of. Importing this does nothing; `make_app` puts it together."""

from pathlib import Path
from typing import Any

from tornado.web import Application, RequestHandler

from .accounts import LIFETIME, Accounts
from .database import Database
from .handlers.base import Uniform
from .handlers.errors import NotFound
from .handlers.files import StaticFiles
from .live import Live
from .logs import RequestLog
from .metrics import Metrics
from .routes import QUIET_ROUTES, ROUTES
from .settings import Settings

# Resolved once: where `current` is switched to a new release while this process still runs, the
# old process must go on serving its own files.
FOLDER = Path(__file__).resolve().parent

# Complete, because Tornado adds an expiry of its own to what is not.
XSRF_COOKIE = {"samesite": "Lax", "path": "/", "httponly": True, "expires_days": LIFETIME.days}


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
    https_settings: dict[str, Any]

    def log_request(self, handler: RequestHandler) -> None:
        """Count and log a request that was answered. Tornado calls this."""
        assert isinstance(handler, Uniform)
        route = self.settings["route_names"].get(type(handler), "unmatched")
        self.metrics.count(handler.request, route, handler.get_status())
        if route not in QUIET_ROUTES or handler.get_status() >= 400:
            self.request_log.add(handler.request, handler.get_status(), handler.request_id)


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
        route_names={rule.target: rule.regex.pattern.rstrip("$") for rule in ROUTES},
        **settings.debug_flags,
    )
    app.https_settings = app.settings | {
        "xsrf_cookie_name": "__Host-xsrf",
        "xsrf_cookie_kwargs": XSRF_COOKIE | {"secure": True},
    }
    app.database = database
    app.accounts = Accounts(database)
    app.release = settings.release
    app.behind_proxy = settings.behind_proxy
    app.metrics = Metrics(app.release)
    app.request_log = RequestLog(settings.log_level, readable=settings.debug)
    app.live = Live(app.accounts, app.metrics, settings.port, app.release)
    app.metrics.watch(in_flight=lambda: app.in_flight, websockets=lambda: len(app.live))
    return app
