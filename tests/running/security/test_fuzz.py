"""Thousands of random requests from a known seed.

What is asked for exists, more or less, since what does not ends at the first line of the routes.
"""

import os
import random
import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.running.load import SOAK, scaled
from tests.running.processes import Stack
from tests.running.projects import Project
from tests.running.wire import MEGABYTES_ALLOWED, conversation, message, statuses, unharmed

pytestmark = pytest.mark.full

AT_A_TIME = 16
# The figure of every run, so that what fails once fails again; another each time in a soak.
SEED = secrets.randbits(32) if SOAK else 20_000
# As many hashes of passwords as there are threads may be under way, each of 64 MiB.
HASHES_MEGABYTES = 64 * (os.cpu_count() or 1)

METHODS = "GET HEAD POST PUT DELETE PATCH OPTIONS TRACE get M-SEARCH".split()
PATHS = """
    / /login /logout /account /account/sessions /live /api/me /api/x /healthz /readyz /metrics
    /static/style.css /static/live.js /static/ /robots.txt /favicon.ico /nothing /%2e%2e/ //
""".split()
FIELDS = "name password next _xsrf session current new v x".split()
TEXTS = [
    *("", "a", "0", "-1", "1e999", "null", "..", "/", "//evil.example", "/\\evil.example", "%"),
    *("%00", "%ff%fe", "%c0%af", "%0d%0aSet-Cookie:%20a=b", "a" * 300, "[]", "{{7*7}}", "<script>"),
    *("' OR 1=1--", "\u202e\U0001f600", "\x01\x7f", "2|1:0|10:1|7:session|4:eA==|x", "9" * 99),
]
HEADERS = """
    Accept Accept-Encoding Accept-Language Authorization Cache-Control Content-Encoding
    Content-Type Expect Forwarded If-Match If-Modified-Since If-None-Match If-Range Origin Range
    Referer Sec-Fetch-Site Sec-WebSocket-Key Sec-WebSocket-Version Upgrade User-Agent
    X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-HTTP-Method-Override X-Real-IP
    X-Request-Id X-Scheme X-XSRFToken
""".split()
VALUES = [
    *TEXTS,
    *("*", "*/*", "gzip", "text/html", "application/json", "bytes=0-", "bytes=-1,9-", "websocket"),
    *("100-continue", "cross-site", "same-origin", "http://localhost", "https", "W/", "13"),
    *("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
]
XSRF = "0" * 32


def any_request(chance: random.Random, project: Project) -> bytes:
    """A request of any method, address, query, headers, cookies and form."""

    names = [*FIELDS, project.session_cookie, project.xsrf_cookie]

    def fields(separator: str) -> str:
        count = chance.randrange(4)
        pairs = (f"{chance.choice(names)}={chance.choice(TEXTS)}" for _ in range(count))
        return separator.join(pairs)

    address = chance.choice(PATHS)
    if chance.random() < 0.4:
        address += f"?{fields('&')}".replace(" ", "+")
    headers = [
        f"{chance.choice(HEADERS)}: {chance.choice(VALUES)}" for _ in range(chance.randrange(5))
    ]
    cookies, body = fields("; "), fields("&")
    if chance.random() < 0.3:
        # Past the guard of the forms.
        cookies = f"{project.xsrf_cookie}={XSRF}; {cookies}"
        body = f"_xsrf={XSRF}&{body}"
        headers.append("Content-Type: application/x-www-form-urlencoded")
    if cookies:
        headers.append(f"Cookie: {cookies}")
    sent = body.encode()
    headers.append(f"Content-Length: {len(sent)}")
    return message(f"{chance.choice(METHODS)} {address} HTTP/1.1", *headers, body=sent)


@pytest.mark.parametrize("direct", [False, True], ids=["through the balancer", "to a process"])
def test_random_requests_break_nothing(direct: bool, stack: Stack) -> None:
    """No random request causes a 500 or ends a process, and memory stays bounded."""
    port = stack.worker_ports[0] if direct else stack.project.balancer_port
    chance = random.Random(SEED)  # noqa: S311
    print(f"seed {SEED}")

    def send(request: bytes) -> tuple[list[int], bytes]:
        return statuses(conversation(port, request)), request

    megabytes = MEGABYTES_ALLOWED + HASHES_MEGABYTES
    with unharmed(stack, megabytes=megabytes), ThreadPoolExecutor(AT_A_TIME) as threads:
        requests = (any_request(chance, stack.project) for _ in range(scaled(10_000, 100_000)))
        for answers, request in threads.map(send, requests):
            # 501 and 505 are nginx's words for what it does not know of HTTP.
            assert all(status < 500 or status in (501, 505) for status in answers), request
