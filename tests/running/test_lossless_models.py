"""The other ways to run several processes, restarted under load: what they keep and what they lose.

The figures are those of the README's table of process models.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.running.load import Load, scaled, session_at, usual_requests
from tests.running.processes import Service, processes_in
from tests.running.projects import Project, missing

pytestmark = pytest.mark.full

COPIES = 4
ROUNDS = scaled(2, 25)
# The kernel repeats a knock that was not answered after one second.
KNOCKED_TWICE = 0.9
CLONE_NEWNET = 0x40000000


def here(work: Callable[[], None]) -> None:
    work()


def where_queues_move(work: Callable[[], None]) -> None:
    """Do something in a network of its own, where what is queued on a closed socket moves on."""

    def enter_and_work() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):
            missing(f"no network can be made here: {os.strerror(ctypes.get_errno())}")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        Path("/proc/sys/net/ipv4/tcp_migrate_req").write_text("1")
        work()

    # Only this thread is in it, and what it starts.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(enter_and_work).result()


def report(load: Load, what: str) -> None:
    slow = sum(seconds > KNOCKED_TWICE for seconds in load.seconds)
    print(
        f"{what}: {load.total} requests, {len(load.failures)} failed"
        f" {dict(Counter(failure.what for failure in load.failures))},"
        f" {slow} took more than {KNOCKED_TWICE} s"
    )


@pytest.mark.parametrize("network", [here, where_queues_move])
def test_copies_that_share_a_port(
    network: Callable[[Callable[[], None]], None], default_project: Project
) -> None:
    """Of --reuse-port copies, one is restarted after another."""

    def restart_them() -> None:
        def another() -> Service:
            return Service(default_project, default_project.first_port, "--reuse-port")

        with ExitStack() as undo:
            copies = [undo.enter_context(another()) for _ in range(COPIES)]
            requests = usual_requests(session_at(copies[0]))
            with Load(copies[0].url, requests) as load:
                for _ in range(COPIES * ROUNDS):
                    assert copies.pop(0).stop() == 0
                    copies.append(undo.enter_context(another()))
        report(load, f"--reuse-port, {network.__name__}, {COPIES * ROUNDS} restarts")

    network(restart_them)


def test_forked_processes(default_project: Project) -> None:
    """With --fork"""
    with Service(default_project, default_project.first_port, "--fork", f"{COPIES}") as service:
        requests = usual_requests(session_at(service))
        with Load(service.url, requests) as load:
            for _ in range(ROUNDS):
                time.sleep(1)
                child = min(set(processes_in(default_project.folder)) - {service.pid})
                os.kill(child, signal.SIGKILL)
                time.sleep(1)
        report(load, f"--fork, {ROUNDS} children killed")
        with Load(service.url, requests) as load:
            for _ in range(ROUNDS):
                time.sleep(1)
                child = min(set(processes_in(default_project.folder)) - {service.pid})
                os.kill(child, signal.SIGTERM)
                time.sleep(1)
        report(load, f"--fork, {ROUNDS} children terminated")
        with Load(service.url, requests) as load:
            for _ in range(ROUNDS):
                time.sleep(1)
                begin = time.monotonic()
                assert service.stop() == 0
                service.start()
                print(time.monotonic() - begin)
                time.sleep(1)
        report(load, f"--fork, {ROUNDS} restarts")
