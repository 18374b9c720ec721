"""The parts of the application. Importing this has no effect; `open_app` assembles them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from . import COMMAND, DESCRIPTION, NAME
from .accounts import SESSION_MAX_AGE, Accounts<< ", AllowList" if cookiecutter.sign_in == "sso" >>
from .database import DATABASE_ERRORS, Database, reason
from .live import Live
#% if cookiecutter.sign_in == "sso"
from .provider import Provider
#% endif
from .routes import ROUTES
from .runtime.application import Service
from .runtime.translations import load_translations
from .settings import Settings

# Resolved once: after a deploy points `current` to a new release, the old process still has to
# serve its own files.
FOLDER = Path(__file__).resolve().parent

# The store in which `deploy/publish` keeps the static files of this and other releases.
PUBLISHED = Path("published")

# A browser sends a host's cookies to all of its ports: the names keep two services apart.
COOKIES: dict[str, Any] = {
    "session_cookie_name": f"{COMMAND}-session",
    "xsrf_cookie_name": f"{COMMAND}-xsrf",
#% if cookiecutter.sign_in == "sso"
    "pending_cookie_name": f"{COMMAND}-sign-in",
#% endif
}
# Complete: Tornado adds its own expiry if one is missing.
XSRF_COOKIE = {
    "samesite": "Lax",
    "path": "/",
    "httponly": True,
    "expires_days": SESSION_MAX_AGE.days,
}
# Over https the prefix binds them to this host, and the browser never sends them over http.
HTTPS_COOKIES = {setting: f"__Host-{name}" for setting, name in COOKIES.items()}


def make_app(settings: Settings, database: Database) -> Service:
    """Assemble the application of one process.

    This starts nothing. In debug mode Tornado's autoreload needs a running event loop.
    """
    load_translations(FOLDER / "locale", language="en")
    keys = settings.cookie_secret
#% if cookiecutter.sign_in == "passwords"
    accounts = Accounts(database)
#% else
    allowed = AllowList(settings.oidc_allowed_domains, settings.oidc_allowed_groups)
    accounts = Accounts(database, allowed)
#% endif
    app = Service(
        ROUTES,
        settings,
        static_path=str(FOLDER / "static"),
        published_path=str(PUBLISHED.resolve()),
        template_path=str(FOLDER / "templates"),
        cookie_secret=keys,
        key_version=next(iter(keys)),
        login_url="/login",
        xsrf_cookies=True,
        xsrf_cookie_kwargs=XSRF_COOKIE,
        cross_origin_protection=True,
        https_settings=HTTPS_COOKIES | {"xsrf_cookie_kwargs": XSRF_COOKIE | {"secure": True}},
        websocket_ping_interval=<< cookiecutter.__ping_seconds >>,
        websocket_ping_timeout=<< cookiecutter.__ping_seconds >>,
        websocket_max_message_size=64 * 1024,
        # For the handlers of the runtime, and for yours as `self.settings[...]`.
        sessions=accounts,
        session_days=SESSION_MAX_AGE.days,
        ping=database.ping,
        unavailable_errors=DATABASE_ERRORS,
        reason=reason,
        template_names={
            "service_name": NAME,
            "description": DESCRIPTION,
            "release": settings.release,
        },
        accounts=accounts,
        database=database,
#% if cookiecutter.sign_in == "sso"
        provider=Provider(settings),
#% endif
        **COOKIES,
        **settings.debug_flags,
    )
    live = Live(accounts, app.metrics, settings.port, settings.release)
    app.settings["live"] = live
    app.background.append(live.run)
    return app


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Open what the application needs, yield the application, and close everything at the end."""
    async with AsyncExitStack() as undo:
        database = Database(settings.database_url<< ', settings.database_connections' if cookiecutter.database == 'postgresql' >>)
        undo.push_async_callback(database.close)
        app = make_app(settings, database)
#% if cookiecutter.sign_in == "passwords"
        undo.callback(app.settings["accounts"].close)
#% endif
        yield app
