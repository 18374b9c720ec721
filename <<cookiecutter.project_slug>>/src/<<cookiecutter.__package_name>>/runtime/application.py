# Part of the template: you need not edit this file.
"""Tornado's Application with what every process has: metrics, request log, requests in flight."""

import functools
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import PathMatches, RuleRouter
from tornado.web import Application, OutputTransform, RequestHandler

from .connections import Connections, InFlightDelegate
from .handlers import NotFound, Overloaded
from .health import Probe
from .logs import RefusalLog, RequestLog
from .metrics import Metrics
from .provenance import provenance
from .settings import ProcessSettings
from .static_files import StaticFiles
from .websockets import WebSockets

if TYPE_CHECKING:
    from .tracing import Tracing

# The policy for every answer, errors included. The balancer adds the same to its own answers.
SECURITY_HEADERS = {
    "Content-Security-Policy": "<< cookiecutter.__content_security_policy >>",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
# An answer without Cache-Control may be personal: no cache may keep it.
DEFAULT_HEADERS = SECURITY_HEADERS | {"Cache-Control": "no-store"}
STRICT_TRANSPORT_SECURITY = "max-age=31536000"
# With the header a browser would use https on every port of the developer's machine.
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
REQUEST_ID = re.compile(r"[0-9a-f]{32}")

Background = Callable[[], Awaitable[None]]


class Service(Application):
    """The application of one process. Handlers take what they use from its settings."""

    def __init__(
        self,
        routes: Sequence[Any],
        settings: ProcessSettings,
        **options: Any,
    ) -> None:
        self.connections = Connections()
        self.websockets = WebSockets()
        self.metrics = Metrics(
            settings.release,
            lambda: self.connections.in_flight,
            lambda: len(self.websockets),
            in_flight_limit=settings.max_in_flight,
        )
        self.request_log = RequestLog(
            settings.log_level,
            readable=settings.debug,
            slow_seconds=settings.slow_request_seconds,
        )
        self.refusal_log = RefusalLog()
        # Set where traces are wanted.
        self.tracing: Tracing | None = None
        # Runs beside the server until the process ends.
        self.background: list[Background] = [self.metrics.measure_lag]
        self.max_in_flight = settings.max_in_flight
        super().__init__(
            list(routes),
            transforms=[functools.partial(AnswerHeaders, self.connections)],  # type: ignore[list-item]
            default_handler_class=NotFound,
            static_handler_class=StaticFiles,
            connections=self.connections,
            websockets=self.websockets,
            metrics=self.metrics,
            release=settings.release,
            provenance=provenance(settings.release),
            **options,
        )

    def add_handlers(self, host_pattern: str, host_handlers: Any) -> None:
        super().add_handlers(host_pattern, host_handlers)
        self.__dict__.pop("_patterns", None)

    def get_handler_delegate(  # type: ignore[override]
        self,
        request: HTTPServerRequest,
        target_class: type[RequestHandler],
        *rest: Any,
        **named: Any,
    ) -> HTTPMessageDelegate:
        """Return the delegate that serves a request, or under overload the one that refuses it."""
        # The balancer makes the id; an id of another format is replaced.
        if not REQUEST_ID.fullmatch(request.headers.get("X-Request-Id", "")):
            request.headers["X-Request-Id"] = secrets.token_hex(16)
        if self.tracing and not issubclass(target_class, Probe):
            self.tracing.begin(request)
        overloaded = self.connections.in_flight >= self.max_in_flight
        if overloaded and not issubclass(target_class, Probe):
            delegate = super().get_handler_delegate(request, Overloaded)
        else:
            delegate = super().get_handler_delegate(request, target_class, *rest, **named)
        return InFlightDelegate(self.connections, request, delegate)

    def log_request(self, handler: RequestHandler) -> None:
        """Count and log an answered request. Tornado calls this at its end."""
        request, status, route = handler.request, handler.get_status(), self.route_of(handler)
        seconds = request.request_time()
        self.connections.end(request)
        self.metrics.count(request.method or "", route, status, seconds)
        if self.tracing:
            self.tracing.end(request, route, status)
        if isinstance(handler, Probe) and status < 400:
            return  # machines ask every few seconds
        if isinstance(handler, Overloaded):
            self.refusal_log.add()
        elif "log_function" in self.settings:
            super().log_request(handler)
        else:
            self.request_log.add(request, status, seconds)

    def route_of(self, handler: RequestHandler) -> str:
        """Return the pattern of the request's route, as a label."""
        patterns = self._patterns.get(type(handler), ())
        if len(patterns) > 1:
            path = handler.request.path
            patterns = [pattern for pattern in patterns if re.match(pattern, path)]
        return patterns[0].rstrip("$") if patterns else "unmatched"

    @functools.cached_property
    def _patterns(self) -> dict[object, list[str]]:
        found: dict[object, list[str]] = {}
        for target, pattern in _paths(self.default_router):
            found.setdefault(target, []).append(pattern)
        return found


def _paths(router: RuleRouter) -> Iterator[tuple[object, str]]:
    for rule in router.rules:
        if isinstance(rule.matcher, PathMatches):
            yield rule.target, rule.matcher.regex.pattern
        elif isinstance(rule.target, RuleRouter):
            yield from _paths(rule.target)


class AnswerHeaders(OutputTransform):
    """Adds the headers of every answer; a header that a handler has set stays."""

    def __init__(self, connections: Connections, request: HTTPServerRequest) -> None:
        self._connections = connections
        self._request = request

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        headers.pop("Server", None)
        headers["X-Request-Id"] = self._request.headers["X-Request-Id"]
        for name, value in DEFAULT_HEADERS.items():
            if name not in headers:
                headers[name] = value
        if self._request.protocol == "https" and self._request.host_name not in LOCAL_HOSTS:
            headers["Strict-Transport-Security"] = STRICT_TRANSPORT_SECURITY
        if self._connections.draining:
            headers["Connection"] = "close"
        return status_code, headers, chunk
