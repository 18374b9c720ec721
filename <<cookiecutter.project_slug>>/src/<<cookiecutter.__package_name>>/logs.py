"""Logs: one JSON object a line in production, a readable line in debug mode.

No cookie, no secret and no query string gets into them: a request is logged by its path alone.
"""

import json
import logging
import sys
import time

from tornado.httputil import HTTPServerRequest
from tornado.log import LogFormatter

_requests = logging.getLogger("request")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; what was passed as `extra={"fields": ...}` is added."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = int(record.created)
        entry = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}"
            f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def configure_logs(level: str, *, readable: bool) -> None:
    """Send all logs to standard output, from this level upwards."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LogFormatter() if readable else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # The service has its own line for each request.
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)


def log_request(request: HTTPServerRequest, status: int, request_id: str) -> None:
    """Write the line of one answered request."""
    milliseconds = round(request.request_time() * 1000, 2)
    _requests.log(
        logging.ERROR if status >= 500 else logging.INFO,
        "%s %s %d %.2f ms",
        request.method,
        request.path,
        status,
        milliseconds,
        extra={
            "fields": {
                "method": request.method,
                "path": request.path,
                "status": status,
                "milliseconds": milliseconds,
                "address": request.remote_ip,
                "request_id": request_id,
            }
        },
    )
