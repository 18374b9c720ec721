"""Processes that die: what still works meanwhile."""

import time

import pytest

from tests.running.faults import kill
from tests.running.load import nothing_lost, session_at, usual_requests
from tests.running.processes import Stack, answers

pytestmark = [pytest.mark.full, pytest.mark.soak]

HTML, JSON = "text/html", "application/json"


def test_a_killed_process(stack: Stack) -> None:
    """kill -9 of a process loses no GET, and each is replaced within 5 s, one after another."""
    gets = [request for request in usual_requests(session_at(stack)) if request.method == "GET"]
    with nothing_lost(stack.url, gets, rate=200):
        for port, url in zip(stack.worker_ports, stack.worker_urls, strict=True):
            kill(stack, port)
            begin = time.monotonic()
            stack.wait_until(lambda url=url: answers(f"{url}/readyz"), "it is back", seconds=5)
            print(f"back after {time.monotonic() - begin:.1f} s")


def test_all_processes_killed(stack: Stack) -> None:
    """While all are dead, browsers get a page and programs JSON; then all restart unaided."""
    seen = set()

    def ask_the_dead() -> bool:
        kill(stack, *stack.worker_ports)
        for address, kind in (("/", HTML), ("/api/me", JSON)):
            answer = client.get(address, headers={"Accept": kind})
            # One may just have come back, or have been killed while it answered.
            assert answer.status_code in (200, 401, 502, 503)
            if answer.status_code >= 500:
                assert kind in answer.headers["Content-Type"]
                assert answer.headers["Retry-After"] == "5"
                seen.add(kind)
        return seen == {HTML, JSON}

    with stack.client() as client:
        stack.wait_until(ask_the_dead, "both kinds of answer")
    stack.wait_until(lambda: stack.ready, "all are back", seconds=30)
