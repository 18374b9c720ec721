"""The other ways to run several processes, restarted under load: what they keep and what they lose.

The figures are those of the README's table of process models.
"""

import ctypes
import os
import signal
import subprocess
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
ROUNDS = scaled(1, 25)
RATE = 500
# The kernel repeats a knock that was not answered after one second.
KNOCKED_TWICE = 0.9
CLONE_NEWNET = 0x40000000


def in_own_network(work: Callable[[], None]) -> None:
    """Do something in a network of its own, which moves what is queued on a socket that closes."""

    def enter() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):
            missing(f"no network can be made here: {os.strerror(ctypes.get_errno())}")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        Path("/proc/thread-self/net")
        Path("/proc/sys/net/ipv4/tcp_migrate_req").write_text("1")
        work()

    # Only this thread enters it, and what it starts.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(enter).result()


def report(load: Load, restarts: int) -> None:
    slow = sum(seconds > KNOCKED_TWICE for seconds in load.everything.seconds)
    kinds = {failure.what for failure in load.failures}
    print(
        f"{load.total} requests, {restarts} restarts, {len(load.failures)} failed {kinds},"
        f" {slow} took more than {KNOCKED_TWICE} s"
    )
