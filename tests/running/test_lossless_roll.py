"""`deploy/roll` under load: whatever becomes of it, no client notices."""

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.running.load import SOAK, Load, Request, scaled, usual_requests
from tests.running.processes import Stack, log_entries
from tests.running.websockets import SERVICE_RESTART, Crowd

pytestmark = pytest.mark.full

RESTARTS = scaled(8, 100)
REQUESTS = scaled(2_000, 300_000)
STEADY_SECONDS = scaled(3, 20)
BROWSERS = 1000
BACK_WITHIN = 10


@pytest.fixture(scope="module")
def session(stack: Stack) -> str:
    """The cookie of somebody who is signed in."""
    cookies = stack.sign_in(*stack.add_user())
    return "; ".join(f"{name}={value}" for name, value in cookies.items() if name != "_xsrf")


@pytest.fixture
def requests(session: str) -> list[Request]:
    return usual_requests(session)


def roll(stack: Stack, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `deploy/roll` to its end."""
    return stack.project.run(stack.project.program("python"), "deploy/roll", *options)


def must_roll(stack: Stack) -> None:
    done = roll(stack)
    assert done.returncode == 0, f"{done.stdout}\n{stack.evidence()}"
    assert done.stdout.count("ready after") == len(stack.worker_ports)


def posts(stack: Stack) -> Counter[str]:
    """How often the service has logged each POST, by its request id; rotated logs included."""
    files = (stack.project.folder / "var" / "log").glob(f"{stack.project.slug}-*.log*")
    return Counter(
        entry["request_id"]
        for file in files
        for entry in log_entries(file.read_text(errors="replace"))
        if entry.get("method") == "POST"
    )


@contextmanager
def changed(file: Path, content: str) -> Iterator[None]:
    """Let a file of the project have another content for a while."""
    before = file.read_text()
    file.write_text(content)
    try:
        yield
    finally:
        file.write_text(before)


def test_no_request_is_lost(stack: Stack, requests: list[Request]) -> None:
    """However often all processes are restarted: every request is answered, no POST done twice."""
    before = posts(stack)
    restarts = 0
    with Load(stack.url, requests) as load:
        steady = load.phase_of(STEADY_SECONDS)
        with load.phase() as rolling:
            while restarts < RESTARTS or load.total < REQUESTS:
                must_roll(stack)
                restarts += len(stack.worker_ports)
    print(f"{load.total} requests, {restarts} restarts, {len(load.failures)} failed")
    print(f"steady: {steady}\nduring the rolls: {rolling}")
    print(f"99% of the time {rolling.p99 / steady.p99:.2f} times the steady one")
    assert load.failures == []

    def executed() -> Counter[str]:
        done = posts(stack) - before
        return done if done.total() >= load.answered["POST /logout"] else Counter()

    done = stack.wait_until(executed, "every POST is in a process's log")
    assert set(done.values()) == {1}
    assert done.total() == load.answered["POST /logout"]
    if SOAK:
        assert rolling.p99 <= 3 * steady.p99


def test_a_crowd_comes_back(stack: Stack, session: str) -> None:
    """A thousand browsers with an open panel are told 1012, and are back elsewhere within 10 s."""
    with Crowd(stack.url, session, BROWSERS) as crowd:
        stack.wait_until(lambda: crowd.connected == BROWSERS, "all are connected", seconds=60)
        old = set(stack.worker_pids().values())
        assert {pid for _, pid in crowd.processes} <= old
        must_roll(stack)
        stack.wait_until(lambda: crowd.connected == BROWSERS, "all are back", seconds=BACK_WITHIN)
        assert {pid for _, pid in crowd.processes} <= set(stack.worker_pids().values()) - old
    print(f"{crowd.codes.total()} times sent away, back after {max(crowd.absences):.1f} s at most")
    assert set(crowd.codes) == {SERVICE_RESTART}
    assert crowd.codes.total() >= BROWSERS
    assert len(crowd.absences) == crowd.codes.total()
    assert max(crowd.absences) < BACK_WITHIN
