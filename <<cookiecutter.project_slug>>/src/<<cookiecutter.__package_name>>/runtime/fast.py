# Part of the template: you need not edit this file.
"""Optional, for speed alone: without this file and its import the service works the same.

It replaces private parts of Tornado, and simpler code of the runtime. Answers and logs are the
same with and without it: `tests/runtime/test_fast.py` compares them.
Checked against Tornado 6.6.1; pyproject.toml keeps out the next minor version.

A gain is the additional processor time of `/api/me`, signed out, without that part and with all
others. Parts that gain less than 2% are left out.
"""

import asyncio
import functools
import gc
import logging
import re
import sys
import time
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

import uvloop
from tornado import netutil
from tornado.concurrent import future_add_done_callback
from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
    format_timestamp,
    parse_cookie,
)
from tornado.routing import PathMatches, Rule
from tornado.web import decode_signed_value

from . import logs, server
from .application import Service
from .handlers import BaseHandler, SessionHandler
from .logs import RequestLog, timestamp
from .server import Server

# A header line that Tornado takes as it is.
FIELD = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)\r\n")
IDLE_CHECK_SECONDS = 1.0

http_date = functools.lru_cache(maxsize=2)(format_timestamp)

lines: list[str] = []

plain_parse = HTTPHeaders.parse
plain_write_headers = HTTP1Connection.write_headers
plain_find_handler = Service.find_handler
plain_session_token = SessionHandler.session_token
plain_line = RequestLog.line
plain_server_of = Server.of


def clear(handler: BaseHandler) -> None:
    """Begin an answer, with a date formatted once a second and without the unwanted `Server`.

    Tornado 6.6.1, RequestHandler.clear. Gain: 6%.
    """
    handler._headers = HTTPHeaders()
    handler._headers["Content-Type"] = "text/html; charset=UTF-8"
    handler._headers["Date"] = http_date(int(time.time()))
    handler.set_default_headers()
    handler._write_buffer = []
    handler._status_code = 200
    handler._reason = "OK"


def parse_headers(text: str, *, _chars_are_bytes: bool = True) -> HTTPHeaders:
    """Parse each header line with one expression; leave unusual headers to Tornado.

    Tornado 6.6.1, HTTPHeaders.parse. Gain: 3%; more with the headers of a browser.
    """
    headers = HTTPHeaders()
    # The text begins with the end of the previous line.
    position = 1 if text.startswith("\n") else 0
    while line := FIELD.match(text, position):
        name, value = line.groups()
        if name in headers:
            break
        headers[name] = value.strip(" \t")
        position = line.end()
    if _chars_are_bytes and text[position:] == "\r\n":
        return headers
    return plain_parse(text, _chars_are_bytes=_chars_are_bytes)


def write_headers(
    connection: HTTP1Connection,
    start_line: RequestStartLine | ResponseStartLine,
    headers: HTTPHeaders,
    chunk: bytes | None = None,
) -> "asyncio.Future[None]":
    """Check and encode the lines of an ordinary answer together; leave others to Tornado.

    Tornado 6.6.1, HTTP1Connection.write_headers. Gain: 9%.
    """
    request = connection._request_start_line
    ordinary = (
        isinstance(request, RequestStartLine)
        and isinstance(start_line, ResponseStartLine)
        and request.version == "HTTP/1.1"
        and request.method != "HEAD"
        and start_line.code >= 200
        and start_line.code not in (204, 304)
        and "Content-Length" in headers
        and headers["Content-Length"].isdecimal()
        and not connection._disconnect_on_finish
        and not connection.stream.closed()
    )
    if ordinary:
        lines = [f"HTTP/1.1 {start_line[1]} {start_line[2]}"]
        lines += [f"{name}: {value}" for name, value in headers.get_all()]
        text = "\r\n".join(lines)
        ordinary = text.count("\r") == text.count("\n") == len(lines) - 1
    if not ordinary:
        return plain_write_headers(connection, start_line, headers, chunk)
    data = text.encode("latin1") + b"\r\n\r\n"
    connection._response_start_line = start_line  # type: ignore[assignment]
    connection._chunking_output = False
    connection._expected_content_remaining = int(headers["Content-Length"])
    if chunk:
        data += connection._format_chunk(chunk)
    written = connection._write_future = asyncio.Future()
    connection._pending_write = connection.stream.write(data)
    future_add_done_callback(connection._pending_write, connection._on_write_complete)
    return written


def find_handler(app: Service, request: HTTPServerRequest, **kwargs: Any) -> Any:
    """Look up a path without a pattern in a table; Tornado tries one expression after another.

    Tornado 6.6.1, Application.find_handler. Gain: 4%.
    """
    # More than one rule: rules for certain hosts come first.
    if len(app.default_router.rules) > 1:
        return plain_find_handler(app, request, **kwargs)
    table: dict[str, Rule] | None = vars(app).get("_exact_routes")
    if table is None:
        table = vars(app)["_exact_routes"] = exact_routes(app)
    if rule := table.get(request.path):
        return app.get_handler_delegate(request, rule.target, rule.target_kwargs)
    return plain_find_handler(app, request, **kwargs)


def exact_routes(app: Service) -> dict[str, Rule]:
    """Return the rules for a single path that no earlier rule matches."""
    table: dict[str, Rule] = {}
    before: list[re.Pattern[str]] = []
    for rule in app.wildcard_router.rules:
        if not isinstance(rule.matcher, PathMatches):
            break
        regex = rule.matcher.regex
        path = regex.pattern.removesuffix("$")
        if re.fullmatch(r"[\w/-]+", path) and not any(other.match(path) for other in before):
            table[path] = rule
        before.append(regex)
    return table


def log_line(
    log: RequestLog, request: HTTPServerRequest, level: int, status: int, milliseconds: float
) -> str:
    """Format the line by hand; only values from outside need an encoder.

    Gain, with `write_line`: 7%.
    """
    if log._readable or logs.context_fields is not logs.no_fields:
        return plain_line(log, request, level, status, milliseconds)
    return (
        f'{{"time": "{timestamp(time.time())}", "level": "{logging.getLevelName(level)}",'
        f' "logger": "request", "method": {quoted(request.method or "")},'
        f' "path": {quoted(request.path)}, "status": {status}, "milliseconds": {milliseconds},'
        f' "address": {quoted(str(request.remote_ip))},'
        f' "request_id": {quoted(request.headers["X-Request-Id"])}}}'
    )


def session_token(handler: SessionHandler) -> str | None:
    """Read the one cookie, where Tornado makes objects of all, and verify it once a minute.

    Whether the session still lives is asked with each request as before. Tornado 6.6.1,
    HTTPServerRequest.cookies. Gain, with a session: 20%.
    """
    settings = handler.settings
    name = settings["session_cookie_name"]
    cookie = parse_cookie(handler.request.headers["Cookie"]).get(name)
    if not cookie:
        return None
    return verified(tuple(settings["cookie_secret"].items()), name, cookie, int(time.time() // 60))


@functools.lru_cache(maxsize=1024)
def verified(secrets: tuple[tuple[int, str], ...], name: str, cookie: str, _: int) -> str | None:
    """Return what a signed cookie holds, or None if its signature is not ours or too old."""
    token = decode_signed_value(dict(secrets), name, cookie, min_version=2)
    return token.decode() if token else None


def write_line(_: RequestLog, line: str) -> None:
    """Write the lines of one iteration of the event loop together, at its end.

    Gain, with `log_line`: 7%.
    """
    if not lines:
        asyncio.get_running_loop().call_soon(write_lines)
    lines.append(line)


def write_lines() -> None:
    text = "\n".join([*lines, ""])
    lines.clear()
    sys.stdout.write(text)
    sys.stdout.flush()


def server_of(app: Service, *, behind_proxy: bool) -> Server:
    """Look for idle connections once a second; Tornado sets and cancels a timer for each request.

    Tornado 6.6.1, HTTP1ConnectionParameters.header_timeout. Gain: 9%.
    """
    spare_garbage_collector()
    made = plain_server_of(app, behind_proxy=behind_proxy)
    idle_seconds = made.conn_params.header_timeout or 0.0
    made.conn_params.header_timeout = None
    interval = min(IDLE_CHECK_SECONDS, idle_seconds)
    requests: dict[object, tuple[Any, float]] = {}
    check: asyncio.TimerHandle | None = None
    start_request, on_close = made.start_request, made.on_close

    def note_start(server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        nonlocal check
        requests[server_conn] = request_conn, time.monotonic()
        if check is None:
            check = asyncio.get_running_loop().call_later(interval, close_idle)
        return start_request(server_conn, request_conn)

    def note_close(server_conn: object) -> None:
        requests.pop(server_conn, None)
        on_close(server_conn)

    def close_idle() -> None:
        nonlocal check
        latest = time.monotonic() - idle_seconds
        for request_conn, since in list(requests.values()):
            # There is no start line until the headers are complete.
            if since < latest and request_conn._request_start_line is None:
                request_conn.close()
        check = asyncio.get_running_loop().call_later(interval, close_idle) if requests else None

    made.start_request = note_start  # type: ignore[method-assign]
    made.on_close = note_close  # type: ignore[method-assign]
    return made


# Once in a process: tests make hundreds of servers in one.
@functools.cache
def spare_garbage_collector() -> None:
    """Collect less often, and never what exists before the first request.

    Gain: 6%.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


# Tornado 6.6.1 asks the system each time, for each header that names the client. Gain: 4%.
is_valid_ip = functools.lru_cache(maxsize=1024)(netutil.is_valid_ip)

REPLACED: tuple[tuple[Any, str, Any], ...] = (
    (BaseHandler, "clear", clear),
    (SessionHandler, "session_token", session_token),
    (HTTPHeaders, "parse", staticmethod(parse_headers)),
    (HTTP1Connection, "write_headers", write_headers),
    (Service, "find_handler", find_handler),
    (RequestLog, "line", log_line),
    (RequestLog, "write", write_line),
    (Server, "of", staticmethod(server_of)),
    (netutil, "is_valid_ip", is_valid_ip),
    # Nothing depends on this event loop; asyncio's own does. Gain: 8%.
    (server, "run", uvloop.run),
)
for owner, name, replacement in REPLACED:
    setattr(owner, name, replacement)
