# Part of the template: you need not edit this file.
"""Traces for OpenTelemetry: a span for each request, and one below it for each database query.

Loaded only where OTEL_EXPORTER_OTLP_ENDPOINT is set. The names of spans and attributes follow
OpenTelemetry's semantic conventions for HTTP and databases. No span holds a query string, a cookie
or a query's parameters.
"""

import asyncio
import socket
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode
from sqlalchemy import Engine, event
from tornado.httputil import HTTPServerRequest

from .. import COMMAND
from . import logs
from .settings import ProcessSettings, hand_to_opentelemetry

# The process exits this much later at most where no collector answers.
EXPORT_SECONDS = 2


class Tracing:
    """The traces of one process."""

    def __init__(self, settings: ProcessSettings, exporter: SpanExporter | None = None) -> None:
        hand_to_opentelemetry(settings)
        # What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say wins.
        known = {
            "service.name": COMMAND,
            "service.version": settings.release,
            "service.instance.id": f"{socket.gethostname()}:{settings.port}",
        }
        self._provider = TracerProvider(
            resource=Resource.create(known).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter or OTLPSpanExporter(timeout=EXPORT_SECONDS))
        )
        self._tracer = self._provider.get_tracer(__name__)
        self._believes_callers = settings.behind_proxy
        self._spans: WeakKeyDictionary[HTTPServerRequest, Span] = WeakKeyDictionary()
        self._queries = Queries(self._tracer)
        logs.context_fields = trace_fields

    def begin(self, request: HTTPServerRequest) -> None:
        """Begin the span of a request, below that of its caller if a balancer has passed it on."""
        caller = propagate.extract(request.headers) if self._believes_callers else None
        span = self._tracer.start_span(
            request.method or "",
            caller,
            SpanKind.SERVER,
            {
                "http.request.method": request.method or "",
                "url.path": request.path,
                "url.scheme": request.protocol,
                "client.address": str(request.remote_ip),
                "request.id": request.headers["X-Request-Id"],
            },
        )
        self._spans[request] = span
        # Never detached: the next request on the connection attaches its own.
        context.attach(trace.set_span_in_context(span))

    def end(self, request: HTTPServerRequest, route: str, status: int) -> None:
        """End the span of a request that was answered."""
        span = self._spans.pop(request, None)
        if span is None:
            return
        span.update_name(f"{request.method} {route}")
        span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()

    async def close(self) -> None:
        """Send what is left, and stop."""
        self._queries.close()
        logs.context_fields = logs.no_fields
        await asyncio.to_thread(self._provider.shutdown)


class Queries:
    """A span for each database query within a request."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._listeners = {
            "before_cursor_execute": self._begin,
            "after_cursor_execute": self._end,
            "handle_error": self._fail,
        }
        for name, listener in self._listeners.items():
            event.listen(Engine, name, listener)

    def close(self) -> None:
        for name, listener in self._listeners.items():
            event.remove(Engine, name, listener)

    def _begin(
        self,
        connection: Any,
        _cursor: Any,
        statement: str,
        _parameters: Any,
        query: Any,
        _many: Any,
    ) -> None:
        # What runs in the background would be a trace for itself, each second.
        if not trace.get_current_span().is_recording():
            return
        operation = statement.split(maxsplit=1)[0].upper()
        query.span = self._tracer.start_span(
            operation,
            kind=SpanKind.CLIENT,
            attributes={
                "db.system.name": connection.dialect.name,
                "db.operation.name": operation,
                "db.query.text": statement,
            },
        )

    def _end(self, *arguments: Any) -> None:
        query = arguments[4]
        if span := getattr(query, "span", None):
            span.end()

    def _fail(self, failure: Any) -> None:
        if span := getattr(failure.execution_context, "span", None):
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", type(failure.original_exception).__name__)
            span.end()


def trace_fields() -> dict[str, str]:
    """Return what leads from a log line to its trace."""
    span = trace.get_current_span().get_span_context()
    return {"trace_id": trace.format_trace_id(span.trace_id)} if span.is_valid else {}
