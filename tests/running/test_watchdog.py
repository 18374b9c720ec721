"""A server's supervisord, with its own files: what becomes of a process that is stuck."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running.processes import ASKING, Stack, answers
from tests.running.projects import Project

pytestmark = pytest.mark.full

SILENT_SECONDS = 5
# In each process: SIGUSR1 makes its event loop stand still, as a handler that computes would.
STUCK = """
import signal, time
def compute(*_):
    time.sleep(600)
signal.signal(signal.SIGUSR1, compute)
"""


class Server(Stack):
    """supervisord with the files of a server, without a balancer."""

    @property
    def ready(self) -> bool:
        return all(answers(f"{url}/readyz") for url in self.worker_urls)


@pytest.fixture
def server(default_project: Project, tmp_path: Path) -> Iterator[Server]:
    project = default_project
    (tmp_path / "sitecustomize.py").write_text(STUCK)
    (project.folder / "var/log").mkdir(parents=True, exist_ok=True)
    text = (project.folder / "deploy/supervisor/supervisord.conf").read_text()
    text = text.replace(f"/srv/{project.slug}/current", str(project.folder))
    text = re.sub(r"(?m)^minfds=.*", "minfds=1024", text)
    text, replaced = re.subn(r"(/watchdog) \d+$", rf"\1 {SILENT_SECONDS}", text, flags=re.MULTILINE)
    assert replaced == 1
    (tmp_path / "supervisord.conf").write_text(text)
    path = f"PATH={project.folder}/.venv/bin:{os.environ['PATH']}"
    start = ("supervisord", "--nodaemon", "--configuration", f"{tmp_path}/supervisord.conf")
    with Server(project, "env", path, f"PYTHONPATH={tmp_path}", *start) as running:
        yield running


def asked(url: str) -> bool:
    """Whether a process has been asked for its health."""
    return 'route="/healthz"' in ASKING.get(f"{url}/metrics").text


def test_a_stuck_process_is_replaced(server: Server) -> None:
    """A process that hangs is replaced within seconds, and the log has its stack; others stay.

    It takes two ticks of five seconds and what an answer may take: one that is stopped does not
    even mind SIGABRT.
    """
    before = server.worker_pids()
    computing, stopped, *others = server.worker_ports
    watchdog = server.project.folder / "var/log/watchdog.log"
    # What has never answered is still starting.
    server.wait_until(lambda: all(map(asked, server.worker_urls)), "the watchdog has asked all")
    os.kill(before[computing], signal.SIGUSR1)
    os.kill(before[stopped], signal.SIGSTOP)

    def replaced() -> bool:
        now = server.worker_pids()
        return all(
            now.get(port) not in (None, before[port]) and answers(f"http://127.0.0.1:{port}/readyz")
            for port in (computing, stopped)
        )

    server.wait_until(replaced, "both are replaced", seconds=60)
    now = server.worker_pids()
    assert {port: now[port] for port in others} == {port: before[port] for port in others}
    assert "in compute" in server.logs()[f"{server.project.slug}-{computing}.log"]
    said = watchdog.read_text()
    assert f"{server.project.slug}-{stopped} does not answer: SIGKILL" in said
    assert f"{server.project.slug}-{computing} does not answer: SIGKILL" not in said
