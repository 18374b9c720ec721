# Part of the template: you need not edit this file.
"""Logs: one JSON object a line in production, a readable line in debug mode.

They contain no cookie, secret or query string: a request is logged with its path alone.
"""

import asyncio
import functools
import json
import logging
import sys
import time

from tornado.httputil import HTTPServerRequest
from tornado.log import LogFormatter

log = logging.getLogger(__name__)

# Only ASCII is written as it is: no line separator or half a character of a client breaks a line.
_encode = json.JSONEncoder(default=str).encode


def no_fields() -> dict[str, str]:
    return {}


# What each line has besides; `tracing.py` sets it.
context_fields = no_fields


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, with the fields of `extra={"fields": ...}`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= getattr(record, "fields", {}) | context_fields()
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return _encode(entry)


class RequestLog:
    """Writes a line for each answered request, to standard output."""

    def __init__(self, level: str, *, readable: bool, slow_seconds: float) -> None:
        self._least = logging.getLevelNamesMapping()[level]
        self._readable = readable
        self._slow_seconds = slow_seconds

    def add(self, request: HTTPServerRequest, status: int, seconds: float) -> None:
        """Log that a request was answered with this status after so many seconds."""
        level = logging.INFO
        # 503 is too much to do, or no database, which has a line of its own: no fault in the code.
        if status >= 500 and status != 503:
            level = logging.ERROR
        elif status == 503 or seconds >= self._slow_seconds:
            level = logging.WARNING
        if level >= self._least:
            self.write(self.line(request, level, status, round(seconds * 1000, 2)))

    def write(self, line: str) -> None:
        """Write a line at once."""
        print(line, flush=True)

    def line(self, request: HTTPServerRequest, level: int, status: int, milliseconds: float) -> str:
        """Return the line: JSON, or text for people in debug mode."""
        if self._readable:
            return f"{request.method} {request.path} {status} {milliseconds} ms"
        return _encode(
            {
                "time": timestamp(time.time()),
                "level": logging.getLevelName(level),
                "logger": "request",
                "method": request.method,
                "path": request.path,
                "status": status,
                "milliseconds": milliseconds,
                "address": request.remote_ip,
                "request_id": request.headers["X-Request-Id"],
            }
            | context_fields()
        )


class RefusalLog:
    """Logs the number of refused requests once a second: a line for each would double their cost."""

    _count = 0

    def add(self) -> None:
        """Count a request that was refused because too many are in flight."""
        self._count += 1
        if self._count == 1:
            asyncio.get_running_loop().call_later(1, self._report)

    def _report(self) -> None:
        log.warning("Refused %d requests: MAX_IN_FLIGHT others are being answered.", self._count)
        self._count = 0


def configure_logs(level: str, *, readable: bool) -> None:
    """Send all logs to standard output, from this level upwards."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LogFormatter() if readable else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
<% if cookiecutter.database == "sqlite" %>
    # At DEBUG it logs the values that are written to the database<< ", password hashes included" if cookiecutter.sign_in == "passwords" else ", ID tokens included" >>.
    logging.getLogger("aiosqlite").setLevel(logging.INFO)
<% endif %>


def timestamp(seconds: float) -> str:
    """Return a moment, in seconds since 1970, as ISO 8601 in UTC with milliseconds."""
    return f"{_second(int(seconds))}.{int(seconds % 1 * 1000):03d}Z"


@functools.lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
