"""What the balancer answers, believes and logs before a request reaches a process."""

import json
import os
import re
import select
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.running.load import scaled
from tests.running.processes import Stack
from tests.running.security.balancers import PROXY, Balancer
from tests.running.wire import conversation, exchange, message, statuses

pytestmark = pytest.mark.full

KILOBYTE = 1024
FORM = "Content-Type: application/x-www-form-urlencoded"
CHUNK = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"


@pytest.mark.parametrize(
    ("expected", "line", "headers"),
    [
        ([302], f"GET /account?q={'x' * 3500} HTTP/1.1", []),
        # Three times as long in the Location that it leads to.
        ([302], f"GET /account?q={'/' * 8000} HTTP/1.1", []),
        ([414], f"GET /account?q={'x' * 8500} HTTP/1.1", []),
        ([200], "GET /login HTTP/1.1", ["Cookie: a=" + "x" * 7000]),
        ([431], "GET /login HTTP/1.1", ["Cookie: a=" + "x" * 9000]),
        ([200], "GET /login HTTP/1.1", [f"X-{n}: {'x' * 7000}" for n in range(3)]),
        ([431], "GET /login HTTP/1.1", [f"X-{n}: {'x' * 7000}" for n in range(5)]),
    ],
)
def test_header_limits(stack: Stack, expected: list[int], line: str, headers: list[str]) -> None:
    """Headers that the balancer accepts fit the process and its answer; larger ones get a 4xx."""
    assert exchange(stack.project.balancer_port, message(line, *headers)) == expected


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (
            413,
            message("POST /logout HTTP/1.1", FORM, "Content-Length: 2000000", body=b"x" * 2000000),
        ),
        (431, message("GET / HTTP/1.1", "Cookie: a=" + "x" * 9000)),
        (404, message("GET /metrics HTTP/1.1")),
    ],
    ids=["413", "431", "404"],
)
def test_refusals_of_the_balancer_have_the_security_headers(
    stack: Stack, status: int, request_: bytes
) -> None:
    """The balancer's own answers to readable requests are as safe as the service's."""
    received = conversation(stack.project.balancer_port, request_)
    assert statuses(received) == [status]
    for name in (
        b"content-security-policy: default-src 'none'",
        b"x-content-type-options: nosniff",
    ):
        assert name in received.lower()


def test_chunks_over_the_limit(stack: Stack) -> None:
    """A body in chunks gets the same 413 as one whose length is known."""
    chunks = message(
        "POST /logout HTTP/1.1", FORM, "Transfer-Encoding: chunked", body=CHUNK * 33 + b"0\r\n\r\n"
    )
    assert exchange(stack.project.balancer_port, chunks) == [413]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/metrics", b""),
        ("http://localhost/metrics", b""),
        ("/metrics-explained", b"There is nothing at this address."),
        ("http://localhost/healthz", b"alive"),
        ("http://localhost/healthz?x=1", b"alive"),
        ("HTTP://localhost", b"<!doctype html>"),
    ],
)
def test_addresses(stack: Stack, target: str, expected: bytes) -> None:
    """Only `/metrics` is hidden; scheme and host before a path change nothing."""
    received = conversation(stack.project.balancer_port, message(f"GET {target} HTTP/1.1"))
    assert (b"X-Content-Type-Options: nosniff").lower() in received.lower()
    if expected:
        assert expected in received
    else:
        assert statuses(received) == [404]
        assert b"There is nothing" not in received


def test_readyz_shows_only_readiness_outside(
    servers_balancer: Balancer, balancer_behind_proxy: Balancer, stack: Stack
) -> None:
    """The balancer shows neither release nor reason; a process itself shows its release."""
    outside = [
        stack.client().get("/readyz"),
        servers_balancer.get(f"https://{servers_balancer.domain}/readyz"),
        balancer_behind_proxy.get(f"http://{balancer_behind_proxy.domain}/readyz"),
    ]
    assert [answer.json() for answer in outside] == [{"status": "ready"}] * 3
    inside = httpx.get(f"{stack.worker_urls[0]}/readyz", trust_env=False)
    assert inside.json()["release"]


@pytest.mark.parametrize("host", ["localhost.", "localhost.:8080"])
def test_a_host_with_a_trailing_dot(stack: Stack, host: str) -> None:
    """Browsers treat it as another origin: like any other host it gets no answer."""
    assert exchange(stack.project.balancer_port, message(host=host)) == []


def test_requests_above_the_limit_in_flight_are_refused(stack: Stack) -> None:
    """Above the sum of MAX_IN_FLIGHT the balancer itself answers 503; probes pass."""
    port, limit = stack.project.balancer_port, stack.project.most_in_flight
    pids = stack.worker_pids().values()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with ExitStack() as clients:

            def ask(path: str) -> socket.socket:
                client = clients.enter_context(socket.create_connection(("127.0.0.1", port), 5))
                client.sendall(message(f"GET {path} HTTP/1.1"))
                return client

            def answered(seconds: float) -> list[socket.socket]:
                return select.select(waiting, [], [], seconds)[0]

            waiting = [ask("/login") for _ in range(limit)]
            # The balancer reads them in no order: more come, until it has counted enough.
            while len(waiting) < limit + 50 and not answered(0.2):
                waiting.append(ask("/login"))
            while early := answered(0.5):
                waiting = [client for client in waiting if client not in early]
            assert len(waiting) == limit
            refused = [ask(path).recv(65536) for path in ("/login", "/api/me") for _ in range(3)]
            waiting.append(ask("/healthz"))
            assert not answered(0.3)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    stack.wait_until(lambda: stack.ready, "all processes are ready")
    assert {tuple(statuses(answer)) for answer in refused} == {(503,)}
    for answer in refused:
        assert b"retry-after: 5" in answer.lower()
        assert b"content-security-policy: " in answer.lower()
    kinds = [b"application/json" in answer.lower() for answer in refused]
    assert kinds == [False] * 3 + [True] * 3


def test_logs_hold_no_raw_bytes(stack: Stack) -> None:
    """Control characters and invalid UTF-8 are escaped or left out; each line is JSON."""
    port = stack.project.balancer_port
    exchange(port, message(b"GET /odd-\xff\xc2\x9b HTTP/1.1"))
    exchange(port, message("GET /odd-agent HTTP/1.1", b"User-Agent: \xff\xc2\x9b\tq"))
    stack.wait_until(
        lambda: [e for e in stack.balancer_requests() if e["path"] == "/odd-agent"],
        "the balancer logs the request",
    )
    folder = stack.project.folder / "var" / "log"
    lines = [
        line
        for file in folder.glob("*.log")
        if "error" not in file.name
        for line in file.read_bytes().splitlines()
        if b"/odd-" in line
    ]
    assert lines
    for line in lines:
        assert re.fullmatch(rb"[\x20-\x7e]+", line), line
        json.loads(line)


@pytest.mark.parametrize("scheme", ["HTTPS", "Https", "http, HTTPS"])
def test_the_scheme_of_a_proxy(balancer_behind_proxy: Balancer, scheme: str) -> None:
    """Upper case counts as well, and of several schemes the proxy's own, the last."""
    answer = balancer_behind_proxy.get(
        f"http://{balancer_behind_proxy.domain}/login",
        source=PROXY,
        headers={"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": scheme},
    )
    assert answer.headers["Set-Cookie"].startswith("__Host-")


def test_the_front_limit_for_logins(balancer_behind_proxy: Balancer) -> None:
    """Logins of one IPv6 network are counted together; the next network has its own count."""

    def login(address: str) -> int:
        return balancer_behind_proxy.ask(
            "POST",
            f"http://{balancer_behind_proxy.domain}/login",
            source=PROXY,
            headers={"X-Forwarded-For": address, "X-Forwarded-Proto": "https"},
        ).status_code

    answers = [login(f"2001:db8:1:2:{number}::1") for number in range(1, 80)]
    assert answers[:30] == [403] * 30
    assert answers[-1] == 429
    assert login("2001:db8:1:3::1") == 403
    assert login("198.51.100.77") == 403


def test_a_malformed_request_harms_no_other(stack: Stack) -> None:
    """A process closes the connection of a request that it cannot read; no other one is sent on it.

    To HEAD its bare 400 looks complete, so a balancer could keep that connection.
    """
    port = stack.project.balancer_port
    malformed = message("HEAD / HTTP/1.1", "Cookie: a=\x01")
    good = message("POST /api/nothing HTTP/1.1", FORM, body=b"a=1")
    with ThreadPoolExecutor(8) as threads:
        for _ in range(scaled(100, 1_000)):
            sent = [threads.submit(exchange, port, malformed) for _ in range(4)]
            answers = [threads.submit(exchange, port, good) for _ in range(4)]
            assert [answer.result() for answer in answers] == [[404]] * 4
            assert {tuple(one.result()) for one in sent} <= {(400,), (404,)}
