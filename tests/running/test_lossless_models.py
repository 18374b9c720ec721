"""The other ways to run several processes, restarted under load: what they keep and what they lose.

The figures are those of the README's table of process models.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.running.load import Load, Request, scaled, session_at, usual_requests
from tests.running.processes import Service, processes_in
from tests.running.projects import Project, missing

pytestmark = [pytest.mark.full, pytest.mark.soak]

PROCESSES = 4
ROUNDS = scaled(1, 25)
RATE = scaled(500, 5_000)
MOST_AWAY = 15
CLONE_NEWNET = 0x40000000


@contextmanager
def measured(url: str, requests: list[Request], what: str) -> Iterator[Load]:
    """Run the usual load within a block; then print its figures."""
    knocks = repeated_knocks()
    with Load(url, requests, rate=RATE) as load:
        yield load
    print(
        f"{what}: {load.total} requests, {len(load.failures)} failed"
        f" {dict(Counter(failure.what for failure in load.failures))},"
        f" {repeated_knocks() - knocks} connections were made a second late"
    )


def repeated_knocks() -> int:
    """How often the kernel has asked for a connection again, after a second without an answer."""
    names, values = [
        line.split()
        for line in Path("/proc/thread-self/net/netstat").read_text().splitlines()
        if line.startswith("TcpExt:")
    ]
    return int(values[names.index("TCPSynRetrans")])


def in_own_network(work: Callable[[], None], *, migrate: int = 0) -> None:
    """Do something in a network of its own, with `tcp_migrate_req` on or off."""

    def enter_and_work() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):
            missing(f"no network can be made here: {os.strerror(ctypes.get_errno())}")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        Path("/proc/sys/net/ipv4/tcp_migrate_req").write_text(f"{migrate}")
        work()

    # Only this thread is in it, and what it starts.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(enter_and_work).result()


@pytest.mark.parametrize("migrate", [0, 1])
def test_copies_that_share_a_port(migrate: int, default_project: Project) -> None:
    """Of copies with --reuse-port, one is restarted after another: none is lost with the switch.

    Without it the kernel resets what waits for the one that ends: a few requests at most.
    """

    def another() -> Service:
        return Service(default_project, default_project.first_port, "--reuse-port")

    def restart_them() -> None:
        with ExitStack() as undo:
            copies = [undo.enter_context(another()) for _ in range(PROCESSES)]
            requests = usual_requests(session_at(copies[0]))
            what = f"--reuse-port, tcp_migrate_req={migrate}, {PROCESSES * ROUNDS} restarts"
            with measured(copies[0].url, requests, what) as load:
                for _ in range(PROCESSES * ROUNDS):
                    assert copies.pop(0).stop() == 0
                    copies.append(undo.enter_context(another()))
            lost = len(load.failures)
            assert lost == 0 if migrate else lost < 0.01 * load.total

    in_own_network(restart_them, migrate=migrate)


def test_forked_processes(default_project: Project) -> None:
    """With --fork a killed process loses its requests in flight; a restart is an outage."""

    def parent() -> Service:
        return Service(default_project, default_project.first_port, "--fork", f"{PROCESSES}")

    def children(service: Service) -> set[int]:
        return processes_in(default_project.folder).keys() - {service.pid}

    def kill_and_restart() -> None:
        with parent() as service:
            requests = usual_requests(session_at(service))
            with measured(service.url, requests, f"--fork, {ROUNDS} processes killed") as load:
                for _ in range(ROUNDS):
                    time.sleep(1)
                    child = max(children(service))
                    os.kill(child, signal.SIGKILL)
                    service.wait_until(
                        lambda child=child: len(children(service) - {child}) == PROCESSES,
                        "another came",
                    )
            assert len(load.failures) < 0.05 * load.total
            with measured(service.url, requests, f"--fork, {ROUNDS} restarts"):
                for _ in range(ROUNDS):
                    time.sleep(1)
                    begin = time.monotonic()
                    assert service.stop() == 0
                    service = parent().start()
                    away = time.monotonic() - begin
                    print(f"away for {away:.1f} s")
                    assert away < MOST_AWAY
                    time.sleep(1)
            service.stop()

    in_own_network(kill_and_restart)
