"""`make demo` from a clean copy of the repository: an account to try, a stack, and a clean end."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bake import QUESTIONS, TEMPLATE, is_free
from tests.running.processes import Stack, processes_in
from tests.running.projects import Project, copy_environment, missing, require

pytestmark = pytest.mark.full


@pytest.fixture
def clean_copy(workshop: Path, default_project: Project) -> Path:
    """The repository as a clone would have it, with what has been changed since the last commit.

    What pip would fetch is there already.
    """
    copy = workshop / "clean copy"
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    files = subprocess.run(listed, cwd=TEMPLATE, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (source := TEMPLATE / name).exists() or source.is_symlink():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy / name, follow_symlinks=False)
    copy_environment(Path(sys.prefix), copy / ".venv")
    (copy / ".venv" / "ready").touch()
    copy_environment(default_project.folder / ".venv", copy / "demo" / "my-service" / ".venv")
    return copy


def test_the_demo_runs_and_ends(clean_copy: Path) -> None:
    """The demo's account works at the printed address; Ctrl-C leaves nothing running."""
    require("nginx")
    project = Project(clean_copy / "demo" / "my-service", "nginx", int(QUESTIONS["first_port"]))
    ports = [*project.worker_ports, project.balancer_port]
    if taken := [port for port in ports if not is_free(port)]:
        missing(f"the demo's ports are taken: {taken}; this names the programs: ss -ltnp")
    with Stack(project, "make", "demo", folder=clean_copy) as demo:
        name, password = re.search(r"Log in as (\S+) with the password (\S+)", demo.output).groups()
        demo.wait_until(lambda: "Ready: http://localhost:8080" in demo.output, "the address")
        cookies = demo.sign_in(name, password)
        with demo.client(cookies=cookies) as client:
            assert f"Hello, {name}" in client.get("/").text
        demo.stop(signal.SIGINT)
    assert processes_in(clean_copy) == {}
    assert [port for port in ports if not is_free(port)] == []
