"""Traces: what a collector gets, what it never gets, and what it costs where there is none."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

import << cookiecutter.__package_name >> as service
from << cookiecutter.__package_name >>.database import DATABASE_ERRORS, Database
from << cookiecutter.__package_name >>.runtime.tracing import Tracing
from << cookiecutter.__package_name >>.settings import load_settings

#% if cookiecutter.sign_in == "passwords"
from ..browser import PASSWORD
#% endif
from ..receiver import Receiver
from ..running import Process

Start = Callable[..., Awaitable[Process]]
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{CALLER}-00f067aa0ba902b7-01"


def spans(receiver: Receiver) -> list[Span]:
    """Return what the collector has got so far."""
    return [
        span
        for body in receiver.bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def attributes(span: Span) -> dict[str, str | int]:
    """Return the attributes of a span that are texts or numbers."""
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


async def test_a_request_and_its_queries_are_one_trace(start: Start, receiver: Receiver) -> None:
    """A caller's trace goes on: the request's span, by route, and below it each query's.

    << "Passwords, cookies" if cookiecutter.sign_in == "passwords" else "Codes, cookies" >> and query strings are in none of them. The log line names the trace.
    """
    process = await start(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    await process.answers()
    browser = process.browser
    await browser.get("/login")
#% if cookiecutter.sign_in == "passwords"
    await browser.post("/login?next=/private", {"name": "ada", "password": PASSWORD})
#% else
    await browser.post("/login?next=/private")
    await browser.sign_in("ada.lovelace")
#% endif
    await browser.get("/api/me?key=private", {"traceparent": TRACEPARENT})
    process.send(signal.SIGTERM)
    assert await process.end() == 0
    received = spans(receiver)
    assert {span.name for span in received} >= {"GET /login", "POST /login", "GET /api/me"}
    ours = [span for span in received if span.trace_id.hex() == CALLER]
    (request,) = [span for span in ours if span.name == "GET /api/me"]
    assert request.parent_span_id.hex() == TRACEPARENT.split("-")[2]
    assert attributes(request)["http.route"] == "/api/me"
    assert attributes(request)["http.response.status_code"] == 200
    queries = [span for span in ours if span.parent_span_id == request.span_id]
    assert "SELECT" in {span.name for span in queries}
    assert all("db.query.text" in attributes(span) for span in queries)
    sent = b"".join(receiver.bodies)
    assert service.COMMAND.encode() in sent
    for hidden in (<< 'PASSWORD.encode(), b"private"' if cookiecutter.sign_in == "passwords" else 'b"private", b"code=", b"lovelace"' >>, << 'b"ada", ' if cookiecutter.sign_in == "passwords" >>b"-session="):
        assert hidden not in sent
    lines = [json.loads(line) for line in process.output if '"request"' in line]
    (line,) = [line for line in lines if line["path"] == "/api/me"]
    assert line["trace_id"] == CALLER


async def test_probes_leave_no_trace(start: Start, receiver: Receiver) -> None:
    """Health checks, every few seconds, would be most of what is stored."""
    process = await start(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    await process.answers()
    await process.browser.get("/metrics")
    await process.browser.get("/login")
    process.send(signal.SIGTERM)
    assert await process.end() == 0
    assert {span.name for span in spans(receiver)} == {"GET /login"}


async def test_without_a_balancer_no_caller_is_believed(start: Start, receiver: Receiver) -> None:
    """A client from outside cannot put its requests into a trace of its own choice."""
    process = await start(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, BEHIND_PROXY="false")
    await process.answers()
    await process.browser.get("/login", {"traceparent": TRACEPARENT})
    process.send(signal.SIGTERM)
    assert await process.end() == 0
    (span,) = (span for span in spans(receiver) if span.name == "GET /login")
    assert span.trace_id.hex() != CALLER


async def test_settings_in_the_file_reach_opentelemetry(
    start: Start, receiver: Receiver, folder: Path
) -> None:
    """Sampler, headers and attributes work in `.env` as in the environment."""
    with (folder / ".env").open("a") as file:
        file.write(
            f"OTEL_EXPORTER_OTLP_ENDPOINT={receiver.url}\n"
            "OTEL_EXPORTER_OTLP_HEADERS=x-token=abc\n"
            "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=staging\n"
            "OTEL_TRACES_SAMPLER=parentbased_traceidratio\nOTEL_TRACES_SAMPLER_ARG=0\n"
        )
    process = await start()
    await process.answers()
    await process.browser.get("/login")
    await process.browser.get("/api/me", {"traceparent": TRACEPARENT})
    process.send(signal.SIGTERM)
    assert await process.end() == 0
    assert [span.name for span in spans(receiver)] == ["GET /api/me"]
    assert b"staging" in receiver.bodies[0]
    assert receiver.headers[0]["x-token"] == "abc"


@pytest.mark.parametrize("listens", [False, True])
async def test_a_collector_that_is_away_delays_nothing(start: Start, listens: bool) -> None:
    """Requests are answered, and the process ends, whether it refuses or is silent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if listens else 1
        process = await start(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
        await process.answers()
        assert (await process.browser.get("/login")).code == 200
        process.send(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.end() == 0


async def test_what_is_not_wanted_is_not_loaded() -> None:
    """Without the settings no module of either is imported: no memory, no time at the start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c"),
        f"import sys, {service.__name__}.cli, {service.__name__}.app;"
        "loaded = {name.partition('.')[0] for name in sys.modules};"
        "sys.exit(len(loaded & {'opentelemetry', 'sentry_sdk'}))",
    )
    assert await process.wait() == 0


async def test_a_failed_query_is_marked(database: Database) -> None:
    """Its span has the type of the error."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(load_settings(), exporter)
    request = HTTPServerRequest(
        start_line=RequestStartLine("GET", "/", "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "x", "X-Request-Id": "1"}),
        connection=Mock(),
    )
    tracing.begin(request)
    with pytest.raises((*DATABASE_ERRORS, ProgrammingError)):
        async with database.transaction() as transaction:
            await transaction.execute(text("SELECT nothing FROM nowhere"))
    tracing.end(request, "/", 503)
    await tracing.close()
    failed, whole = exporter.get_finished_spans()
    assert failed.attributes is not None
    assert failed.attributes["error.type"]
    assert not failed.status.is_ok
    assert not whole.status.is_ok
