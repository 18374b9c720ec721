"""`runtime/fast.py` changes no answer and no log line."""

import asyncio
import contextlib
import json
import re
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from tornado.httputil import HTTPHeaders, HTTPInputError, HTTPServerRequest, RequestStartLine
from tornado.web import Application, create_signed_value

import << cookiecutter.__package_name >> as service

from ..running import Process

fast = pytest.importorskip(f"{service.__name__}.runtime.fast")

# Starts the service as `python -m` does, with an empty module in place of `fast`.
PLAIN = f"""
import sys, types
sys.modules["{service.__name__}.runtime.fast"] = types.ModuleType("fast")
from {service.__name__}.cli import run
run()
"""

FORM = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n"
CHUNKED = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
MULTIPART = "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 2\r\n"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
REQUESTS = {
    "page": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "form": "GET /login HTTP/1.1\r\nHost: x\r\n\r\n",
    "redirect": "GET /account HTTP/1.1\r\nHost: x\r\n\r\n",
    "json": "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "refused": "GET /api/me HTTP/1.1\r\nHost: x\r\n\r\n",
    "cookies that are none": "GET /api/me HTTP/1.1\r\nHost: x\r\nCookie: a=b; c\r\n\r\n",
    "not found": "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    "not found in the API": "GET /api/nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    "more than the route": "GET /api/me/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "line end in the path": "GET /api/me%0a HTTP/1.1\r\nHost: x\r\n\r\n",
    "not allowed": "DELETE /api/me HTTP/1.1\r\nHost: x\r\n\r\n",
    "no such method": "BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
    "static file": "GET /static/style.css HTTP/1.1\r\nHost: x\r\n\r\n",
    "part of a file": "GET /static/style.css HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\n\r\n",
    "not modified": "GET /robots.txt HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n",
    "headers only": "HEAD /login HTTP/1.1\r\nHost: x\r\n\r\n",
    "headers of a file": "HEAD /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n",
    "post without a token": f"POST /login HTTP/1.1\r\nHost: x\r\n{FORM}\r\nname=user",
    "post from elsewhere": "POST /logout HTTP/1.1\r\nHost: x\r\nOrigin: https://y\r\n"
    "Content-Length: 0\r\n\r\n",
    "chunked": f"POST /login HTTP/1.1\r\nHost: x\r\n{CHUNKED}\r\n2\r\n{{}}\r\n0\r\n\r\n",
    "multipart": f"POST /login HTTP/1.1\r\nHost: x\r\n{MULTIPART}\r\n--",
    "websocket from elsewhere": f"GET /live HTTP/1.1\r\nHost: x\r\n{UPGRADE}"
    "Origin: https://y\r\n\r\n",
    "websocket that is none": "GET /live HTTP/1.1\r\nHost: x\r\n\r\n",
    "over https": "GET /login HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\n"
    "X-Real-IP: 192.0.2.1\r\n\r\n",
    "an address that is none": "GET /api/me HTTP/1.1\r\nHost: x\r\nX-Real-IP: me\r\n\r\n",
    "spaces and repetitions": "GET /api/me HTTP/1.1\r\nHost: x\r\nAccept:  a \t\r\naccept: b\r\n\r\n",
    "line ends of old": "GET /api/me HTTP/1.1\nHost: x\n\n",
    "an empty line before": "\r\nGET /api/me HTTP/1.1\r\nHost: x\r\n\r\n",
    "a folded line": "GET /api/me HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "a header without a name": "GET /api/me HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
    "a space after a name": "GET /api/me HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
    "control characters": "GET /api/me HTTP/1.1\r\nHost: x\r\nA: \x01\r\n\r\n",
    "letters beyond ASCII": "GET /api/\xfc HTTP/1.1\r\nHost: x\r\nA: \xfc\r\n\r\n",
    "two hosts": "GET /api/me HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no host": "GET /api/me HTTP/1.1\r\n\r\n",
    "last of a connection": "GET /api/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "HTTP/1.0": "GET /api/me HTTP/1.0\r\n\r\n",
    "HTTP/1.0, kept alive": "GET /api/me HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "no HTTP": "\x16\x03\x01\r\n\r\n",
}
# Times, and other values that are new in each answer.
VARIES = re.compile(
    r"(?i)(?<=date: )[^\r]+|(?<=last-modified: )[^\r]+|(?<=expires=)[^;\r]+|[0-9a-f]{32}"
    r'|(?<=-xsrf=)[^;\r]+|(?<=name="_xsrf" value=")[^"]+'
)


async def answer(port: int, request: str) -> str:
    """Return the answer to a request, and to a second one if the connection stays open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode("latin1"))
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
    length = re.search(r"Content-Length: (\d+)", text)
    if length and not request.startswith("HEAD"):
        text += (await reader.readexactly(int(length[1]))).decode("latin1")
    # The second is not sent earlier: closing a connection with unread data loses its answer.
    with contextlib.suppress(ConnectionError):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text += (await reader.read()).decode("latin1")
    writer.close()
    return VARIES.sub("...", text)


async def answers(process: Process) -> dict[str, str]:
    """Return the bytes that the process sends for each request."""
    return {
        name: await asyncio.wait_for(answer(process.port, request), 20)
        for name, request in REQUESTS.items()
    }


def request_lines(process: Process) -> Iterator[dict[str, Any]]:
    """Yield the lines of the request log, without the values that differ between requests."""
    for line in process.output:
        entry = json.loads(line)
        if entry["logger"] == "request":
            assert entry.keys() >= {"time", "milliseconds", "request_id"}
            yield entry | {"time": "", "milliseconds": 0.0, "request_id": ""}


async def test_each_answer_and_each_log_line_is_the_same(
    start: Callable[..., Awaitable[Process]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status line, headers in their order, body, keep-alive, and log lines are equal."""
    both = [await start(), await start(program=["-c", PLAIN])]
    found = []
    for process in both:
        await process.says("Serving")
        found.append(await answers(process))
        process.send(signal.SIGTERM)
        assert await process.end() == 0, process.output
    assert found[0] == found[1]
    assert all(found[0].values()), "each request has an answer"
    assert found[0]["refused"].startswith("HTTP/1.1 401 Unauthorized\r\nContent-Type: ")
    logged = [list(request_lines(process)) for process in both]
    assert logged[0] == logged[1]
    assert len(logged[0]) > len(REQUESTS) / 2


HEADERS = (
    "",
    "\r\n",
    "\nHost: x\r\n\r\n",
    "\nA:b\r\nC:\t d \r\n\r\n",
    "\nA: b\r\nA: c\r\n\r\n",
    "\nA: b\r\na:\r\n\r\n",
    "\nA: b\nC: d\r\n\r\n",
    "\nA: b\rc\r\n\r\n",
    "\nA: b\0\r\n\r\n",
    "\nA: \xa0\xff\r\n\r\n",
    "\nA: b\r\n\r\nC: d\r\n\r\n",
    "\nA: b\r\n  c\r\n\r\n",
    "\nA b\r\n\r\n",
    "\n\r\nA: b\r\n\r\n",
    "\nA: b",
    "A: b\r\n\r\n",
    "\n\xfc: b\r\n\r\n",
    "\nA: \u20ac\r\n\r\n",
)


@pytest.mark.parametrize("text", HEADERS)
@pytest.mark.parametrize("chars_are_bytes", [True, False])
def test_headers_are_parsed_as_by_tornado(text: str, chars_are_bytes: bool) -> None:
    """The result has the same names and values in the same order, or the same refusal."""

    def outcome(parse: Callable[..., HTTPHeaders]) -> object:
        try:
            return list(parse(text, _chars_are_bytes=chars_are_bytes).get_all())
        except HTTPInputError as error:
            return str(error)

    assert outcome(fast.parse_headers) == outcome(fast.plain_parse)


SECRETS = {2: "b" * 32, 1: "a" * 32}


def signed(value: str = "token", name: str = "session", key: int = 2, age_days: float = 0) -> str:
    """Return a signed cookie's value as Tornado makes it."""
    made = create_signed_value(
        SECRETS, name, value, key_version=key, clock=lambda: time.time() - age_days * 86400
    )
    return made.decode()


@pytest.mark.parametrize(
    ("cookies", "expected"),
    [
        (f"session={signed()}", "token"),
        (f'a=b; session="{signed()}"; c', "token"),
        (f"session={signed(key=1)}", "token"),
        (f"session=x; session={signed()}", "token"),
        (f"session={signed()}; session=x", None),
        (f"session={signed()[:-1]}x", None),
        (f"session={signed(name='other')}", None),
        (f"session={signed(age_days=32)}", None),
        (f"session={signed('')}", None),
        ("session=", None),
        ("session=1|2|3", None),
        ("other=1; \xff", None),
        ("", None),
    ],
)
def test_the_session_cookie_is_read_as_by_tornado(cookies: str, expected: str | None) -> None:
    """It reads the same token, or none, also the second time, when the signature is known."""
    app = Application(cookie_secret=SECRETS, session_cookie_name="session", https_settings={})
    request = HTTPServerRequest(
        start_line=RequestStartLine("GET", "/", "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "x", "Cookie": cookies}),
        connection=Mock(),
    )
    for read in (fast.session_token, fast.session_token, fast.plain_session_token):
        assert read(fast.SessionHandler(app, request)) == expected
