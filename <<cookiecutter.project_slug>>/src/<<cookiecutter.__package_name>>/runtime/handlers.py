"""What all handlers share: headers, the request id, who is signed in, and the shape of errors."""

import functools
import logging
import re
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tornado.httputil import HTTPHeaders, HTTPServerRequest, format_timestamp
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from .. import DESCRIPTION, NAME
from ..accounts import SESSION_MAX_AGE, CurrentUser, Throttled
from ..database import DATABASE_ERRORS

if TYPE_CHECKING:
    from ..app import Service

log = logging.getLogger(__name__)

# The policy for every answer, errors included. The balancer adds the same to its own answers.
SECURITY_HEADERS = {
    "Content-Security-Policy": "<< cookiecutter.__content_security_policy >>",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
HTTPS_HEADERS = SECURITY_HEADERS | {"Strict-Transport-Security": "max-age=31536000"}
REQUEST_ID = re.compile(r"[0-9a-f]{32}")
RETRY_SECONDS = 5
MESSAGES = {
    400: "The request could not be understood.",
    401: "Sign in first.",
    403: "This is not allowed, or the page was open for too long. Reload it and try again.",
    404: "There is nothing at this address.",
    405: "This address does not take such a request.",
    503: "The service cannot answer just now. Try again in a moment.",
}


http_date = functools.lru_cache(maxsize=2)(format_timestamp)


class Uniform(RequestHandler):
    """What even files and probes share: headers, a request id, a count of what is in flight."""

    application: "Service"

    def __init__(self, application: "Service", request: HTTPServerRequest, **rest: Any) -> None:
        application.in_flight += 1
        headers = request.headers
        # The balancer makes the id; what does not look like one of its own is not passed on.
        if "X-Request-Id" in headers and REQUEST_ID.fullmatch(headers["X-Request-Id"]):
            self.request_id = headers["X-Request-Id"]
        else:
            self.request_id = secrets.token_hex(16)
        if application.behind_proxy:
            # These two only, which the balancer overwrites. Tornado's `xheaders` believes others
            # too, and before these; and it takes a seventh of a small answer's time.
            if "X-Real-IP" in headers:
                request.remote_ip = headers["X-Real-IP"]
            if "X-Forwarded-Proto" in headers:
                request.protocol = headers["X-Forwarded-Proto"]
        super().__init__(application, request, **rest)

    def on_finish(self) -> None:
        self.application.in_flight -= 1

    @property
    def https(self) -> bool:
        return self.request.protocol == "https"

    @property
    def settings(self) -> dict[str, Any]:
        """Tornado's settings; over https, those in which cookies are bound to https."""
        return self.application.https_settings if self.https else self.application.settings

    def clear(self) -> None:
        """Begin an answer, as Tornado does but in a third of the time, and without `Server`."""
        self._headers = HTTPHeaders(HTTPS_HEADERS if self.https else SECURITY_HEADERS)
        self._headers["Content-Type"] = "text/html; charset=UTF-8"
        self._headers["Date"] = http_date(int(time.time()))
        self._headers["X-Request-Id"] = self.request_id
        self._write_buffer = []
        self._status_code = 200
        self._reason = "OK"
        self.set_default_headers()

    def compute_etag(self) -> str | None:
        """No etag: what is made for each request is never kept, so nothing can be compared."""
        return None

    def head(self, *path: str) -> Awaitable[None] | None:
        """Answer as to GET; Tornado leaves the body out."""
        return self.get(*path)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Answer with an error; a database that is away is not a fault in the code: 503."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, DATABASE_ERRORS):
            status_code = 503
        super().send_error(status_code, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 503:
            self.set_header("Retry-After", str(RETRY_SECONDS))
        message = MESSAGES.get(status_code, self._reason + ".")
        if status_code >= 500:
            message = MESSAGES.get(status_code, "Something went wrong here. It has been noted.")
        shown = None
        if self.settings["serve_traceback"] and "exc_info" in kwargs:
            shown = "".join(traceback.format_exception(*kwargs["exc_info"]))
        self.show_error(status_code, message, shown)

    def show_error(self, status: int, message: str, shown_traceback: str | None) -> None:
        """Write the error in the form that this kind of handler answers in: here, as JSON."""
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
        """Log what went wrong by path and request id: the query string may hold secrets."""
        if isinstance(value, StreamClosedError):
            return  # the client went away
        if isinstance(value, HTTPError) and value.status_code < 500:
            return
        fields = {"request_id": self.request_id, "path": self.request.path}
        if isinstance(value, DATABASE_ERRORS):
            log.error("The database cannot be used: %s", value, extra={"fields": fields})
        else:
            log.error("The request failed.", exc_info=value, extra={"fields": fields})


class Identified(Uniform):
    """A handler that knows who is signed in."""

    current_user: CurrentUser | None

    def prepare(self) -> Awaitable[None] | None:
        # Without a cookie there is nothing to read and nothing to wait for.
        if "Cookie" not in self.request.headers:
            return None
        # Anything else Tornado would take for version 1, which fails with versioned secrets.
        token = self.get_signed_cookie(self.session_cookie, min_version=2)
        return self.identify(token.decode()) if token else None

    async def identify(self, token: str) -> None:
        """Find out whose session the token is."""
        self.current_user = await self.application.accounts.current_user(token)
        signed_with = self.get_signed_cookie_key_version(self.session_cookie)
        if self.current_user and signed_with != self.settings["key_version"]:
            # The secret is being replaced: the cookie must outlive the old one.
            self.start_session(token)

    def get_current_user(self) -> None:
        """Nobody, unless `prepare` has found somebody: Tornado cannot await here."""

    @property
    def session_cookie(self) -> str:
        name: str = self.settings["session_cookie_name"]
        return name

    def start_session(self, token: str) -> None:
        """Hand the token of a new session to the browser."""
        self.set_signed_cookie(
            self.session_cookie,
            token,
            expires_days=SESSION_MAX_AGE.days,
            path="/",
            secure=self.https,
            httponly=True,
            samesite="Lax",
        )

    def forget_session(self) -> None:
        """Tell the browser to drop its token."""
        self.clear_cookie(
            self.session_cookie, path="/", secure=self.https, httponly=True, samesite="Lax"
        )


class Page(Identified):
    """A handler that answers with HTML."""

    def get_template_namespace(self) -> dict[str, Any]:
        return super().get_template_namespace() | {
            "service_name": NAME,
            "description": DESCRIPTION,
            "release": self.application.release,
            "request_id": self.request_id,
        }

    def set_default_headers(self) -> None:
        # A page shows who is signed in: no cache may keep it, nor the browser after a logout.
        self.set_header("Cache-Control", "no-store")

    def come_back_later(self, error: Throttled) -> None:
        """Answer 429 and say when the next attempt is possible."""
        self.set_status(429)
        self.set_header("Retry-After", str(error.seconds))

    def show_error(self, status: int, message: str, shown_traceback: str | None) -> None:
        self.render(
            "error.html",
            status=status,
            reason=self._reason,
            message=message,
            traceback=shown_traceback,
        )


class Api(Identified):
    """A handler that answers with JSON, its errors included; the pattern for an API."""

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")

    def refuse(self, status: int) -> None:
        """Answer with this error, without the cost of raising one."""
        self.set_status(status)
        self.show_error(status, MESSAGES[status], None)


Method = Callable[..., Awaitable[None] | None]


def signed_in(method: Method) -> Method:
    """Decorate a method of an `Api`: it is given who is signed in; without anybody, 401."""

    @functools.wraps(method)
    def checked(self: Api, *args: Any, **kwargs: Any) -> Awaitable[None] | None:
        if self.current_user is None:
            self.refuse(401)
            return None
        return method(self, self.current_user, *args, **kwargs)

    return checked
