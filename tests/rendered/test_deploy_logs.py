"""`make deploy-logs`: the lines of one request, from the logs of a server."""

import gzip
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bake import CHOICES

ID, OTHER = "0123456789abcdef" * 2, "f" * 32
# What a server has and this machine may not; each finds its logs in the test's folder.
RUNUSER = '#!/bin/sh\ntest "$1 $2 $3" = "-u my-service --" || exit 9\nshift 3\nexec "$@"\n'
JOURNALCTL = """#!/bin/sh
while [ $# -gt 1 ]; do
    case $1 in --unit) unit=$2 ;; --grep) wanted=$2 ;; esac
    shift
done
grep -F "$wanted" "$JOURNALS/$unit"
"""


def line(time: str, request: str) -> str:
    return f'{{"time": "2026-11-27T{time}", "request_id": "{request}"}}\n'


def log(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress("".join(lines).encode()))
    else:
        path.write_text("".join(lines))


@pytest.mark.parametrize("balancer", CHOICES["load_balancer"])
@pytest.mark.parametrize("manager", ["supervisord", "systemd"])
def test_all_lines_of_a_request(
    bake: Callable[..., Path], tmp_path: Path, balancer: str, manager: str
) -> None:
    """The balancer's and the processes' come in the order of time, from rotated logs too."""
    project = bake(load_balancer=balancer, process_manager=manager)
    (recipe,) = re.findall(r"(?m)^deploy-logs:(?:.*\n\t)+.*", (project / "Makefile").read_text())
    assert '-a "/srv/my-service/current/deploy/logs $(ID)"' in recipe

    script = (project / "deploy/logs").read_text()
    for there, here in (("/var/log/nginx", "nginx"), ("/srv/my-service/shared/var/log", "logs")):
        script = script.replace(there, str(tmp_path / here))
    (project / "deploy/logs").write_text(script)
    for name, text in (("runuser", RUNUSER), ("journalctl", JOURNALCTL)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)

    lines = [line(f"10:00:0{second}", ID) for second in range(3)]
    balancers, workers = (lines[2], lines[0]), lines[1]
    if balancer == "nginx":
        log(tmp_path / "nginx/my-service.log", balancers[0], line("10:00:01", OTHER))
        log(tmp_path / "nginx/my-service.log.2.gz", balancers[1])
    else:
        log(tmp_path / "haproxy", *balancers, line("10:00:01", OTHER))
    if manager == "supervisord":
        log(tmp_path / "logs/my-service-8000.log", line("10:00:01", OTHER))
        log(tmp_path / "logs/my-service-8001.log.1", workers)
    else:
        log(tmp_path / "my-service@*", line("10:00:01", OTHER), workers)

    def run(wanted: str) -> subprocess.CompletedProcess[str]:
        path = f"{tmp_path}/bin:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", "deploy/logs", wanted],
            cwd=project,
            env=os.environ | {"PATH": path, "JOURNALS": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    done = run(ID)
    assert (done.returncode, done.stdout) == (0, "".join(lines)), done.stderr
    done = run("a" * 32)
    assert done.returncode == 1
    assert "No log has a line" in done.stderr
    for wrong in ("", "x; id", f"-{ID}"):
        assert run(wrong).returncode == 2
