# Part of the template: you need not edit this file.
"""The base classes of all handlers, made of Tornado's documented hooks only.

A subclass may override `initialize`, `prepare`, `on_finish` and `set_default_headers` without a call
to `super()`.
"""

import functools
import logging
import traceback
from collections.abc import Awaitable, Callable
from http.client import responses
from types import TracebackType
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from .translations import N_

log = logging.getLogger(__name__)

RETRY_SECONDS = 5
MESSAGES = {
    400: N_("The request could not be understood."),
    401: N_("Sign in first."),
    403: N_("This is not allowed, or the page was open for too long. Reload it and try again."),
    404: N_("There is nothing at this address."),
    405: N_("This address does not support this method."),
    503: N_("The service cannot answer just now. Try again in a moment."),
}
# HTTP's own words stand as titles on error pages; those of the usual errors can be translated.
TITLES = responses | {
    400: N_("Bad Request"),
    403: N_("Forbidden"),
    404: N_("Not Found"),
    405: N_("Method Not Allowed"),
    500: N_("Internal Server Error"),
    503: N_("Service Unavailable"),
}

Method = Callable[..., Awaitable[None] | None]


class BaseHandler(RequestHandler):
    """What every handler shares: the request id, settings by scheme, and errors as JSON."""

    @property
    def request_id(self) -> str:
        """The id of the request, in all logs and answers; `Service` ensures that it exists."""
        return self.request.headers["X-Request-Id"]

    @property
    def https(self) -> bool:
        return self.request.protocol == "https"

    @property
    def settings(self) -> dict[str, Any]:
        """Tornado's settings; over https, with those that bind cookies to https."""
        settings = self.application.settings
        return settings | settings["https_settings"] if self.https else settings

    def compute_etag(self) -> str | None:
        """Return None: no cache keeps a handler's answer, so no client could send its etag back."""
        return None

    def head(self, *path: str, **named: str) -> Awaitable[None] | None:
        """Answer as to GET; Tornado leaves the body out."""
        return self.get(*path, **named)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with an error: 503 if the database is unavailable, which is no fault in the code."""
        if isinstance(_exception(kwargs), self.settings["unavailable_errors"]):
            status_code = 503
            self.set_status(status_code)
        if status_code == 503:
            self.set_header("Retry-After", str(RETRY_SECONDS))
        message = MESSAGES.get(status_code, f"{responses.get(status_code, 'Error')}.")
        if status_code >= 500:
            message = MESSAGES.get(status_code, N_("Something went wrong. The error is logged."))
        shown = None
        if self.settings["serve_traceback"] and "exc_info" in kwargs:
            shown = "".join(traceback.format_exception(*kwargs["exc_info"]))
        self.show_error(status_code, message, shown)

    def show_error(self, status: int, message: str, shown_traceback: str | None) -> None:
        """Write the error in the format of this kind of handler: here, as JSON."""
        error: dict[str, Any] = {
            "status": status,
            "message": message,
            "request_id": self.request_id,
        }
        if shown_traceback:
            error["traceback"] = shown_traceback
        self.finish({"error": error})

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log an exception with path and request id; the query string may hold secrets."""
        if isinstance(value, StreamClosedError):
            return  # the client has disconnected
        if isinstance(value, HTTPError) and value.status_code < 500:
            return
        fields = {"request_id": self.request_id, "path": self.request.path}
        if isinstance(value, self.settings["unavailable_errors"]):
            log.error("The database cannot be used: %s", value, extra={"fields": fields})
        else:
            log.error("The request failed.", exc_info=value, extra={"fields": fields})


def _exception(kwargs: dict[str, Any]) -> BaseException | None:
    error: BaseException | None = kwargs.get("exc_info", (None, None, None))[1]
    return error


def runs_first(first: Method, method: Method) -> Method:
    """Return `method` wrapped so that `first` runs before it; with several overrides, before each."""

    @functools.wraps(method)
    async def both(self: RequestHandler, *args: Any, **kwargs: Any) -> None:
        for step in (
            functools.partial(first, self),
            functools.partial(method, self, *args, **kwargs),
        ):
            if (result := step()) is not None:
                await result

    return both


class SessionHandler(BaseHandler):
    """A handler that knows its user: `self.current_user`, None without a session.

    `settings["sessions"]` looks up a user by token: `async current_user(token)`.
    """

    loads_session = True
    _session_loaded = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "prepare" in cls.__dict__:
            cls.prepare = runs_first(cls.load_session, cls.prepare)  # type: ignore[method-assign]

    def prepare(self) -> Awaitable[None] | None:
        return self.load_session()

    def load_session(self) -> Awaitable[None] | None:
        """Load the current user, once. Tornado cannot await in `get_current_user`."""
        # Without a cookie there is nothing to read and nothing to wait for.
        if self._session_loaded or not self.loads_session or "Cookie" not in self.request.headers:
            return None
        self._session_loaded = True
        token = self.session_token()
        return self.identify(token) if token else None

    def session_token(self) -> str | None:
        """Return the token in the session cookie, if this service has signed it."""
        # Tornado reads any other value as version 1, which fails with versioned secrets.
        token = self.get_signed_cookie(self.session_cookie, min_version=2)
        return token.decode() if token else None

    async def identify(self, token: str) -> None:
        """Set `current_user` to the user of this session."""
        self.current_user = await self.settings["sessions"].current_user(token)
        if self.current_user and len(self.settings["cookie_secret"]) > 1:
            # During a rotation the cookie must outlive the old secret.
            signed_with = self.get_signed_cookie_key_version(self.session_cookie)
            if signed_with != self.settings["key_version"]:
                self.start_session(token)

    def get_current_user(self) -> None:
        """Return None: `load_session` sets `current_user`."""

    @property
    def session_cookie(self) -> str:
        name: str = self.settings["session_cookie_name"]
        return name

    def start_session(self, token: str) -> None:
        """Send the token of a new session to the browser, in a signed cookie."""
        self.set_signed_cookie(
            self.session_cookie,
            token,
            expires_days=self.settings["session_days"],
            path="/",
            secure=self.https,
            httponly=True,
            samesite="Lax",
        )

    def forget_session(self) -> None:
        """Delete the session cookie in the browser."""
        self.clear_cookie(
            self.session_cookie, path="/", secure=self.https, httponly=True, samesite="Lax"
        )


class PageHandler(SessionHandler):
    """A handler that answers with HTML."""

    def get_template_namespace(self) -> dict[str, Any]:
        names: dict[str, Any] = self.settings["template_names"]
        return super().get_template_namespace() | names | {"request_id": self.request_id}

    def show_error(self, status: int, message: str, shown_traceback: str | None) -> None:
        self.render(
            "error.html",
            status=status,
            reason=self.locale.translate(TITLES.get(status, "Error")),
            message=self.locale.translate(message),
            traceback=shown_traceback,
        )


class APIHandler(SessionHandler):
    """A handler that answers with JSON, its errors included; the pattern for an API."""


def signed_in(method: Method) -> Method:
    """Decorate a method of an `APIHandler`: pass the user as first argument, or answer 401."""

    @functools.wraps(method)
    def checked(self: APIHandler, *args: Any, **kwargs: Any) -> Awaitable[None] | None:
        if self.current_user is None:
            # Not `send_error`, which begins a new answer: nothing has been written yet.
            self.set_status(401)
            self.write_error(401)
            return None
        return method(self, self.current_user, *args, **kwargs)

    return checked


class NotFound(PageHandler):
    """Answers 404: a page for people, JSON below /api/."""

    loads_session = False

    def prepare(self) -> None:
        raise HTTPError(404)

    def check_xsrf_cookie(self) -> None:
        """Skip the check: this handler changes nothing, and a POST must get 404, not 403."""

    def check_trusted_origin(self, origin: str) -> bool:
        return True

    def show_error(self, status: int, message: str, shown_traceback: str | None) -> None:
        kind = BaseHandler if self.request.path.startswith("/api/") else PageHandler
        kind.show_error(self, status, message, shown_traceback)


class Overloaded(BaseHandler):
    """Answers 503 at once, under overload, without reading the request."""

    def check_xsrf_cookie(self) -> None:
        """Skip the check: this handler changes nothing."""

    def check_trusted_origin(self, origin: str) -> bool:
        return True

    def prepare(self) -> None:
        self.send_error(503)
