"""The three commands that the template prints lead to the signed-in page."""

import fcntl
import json
import os
import re
import secrets
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.bake import CHOICES, TEMPLATE, is_free
from tests.running.processes import Program, kill, processes_in, wait_until
from tests.running.projects import Project, copy_environment, environment_for, missing

pytestmark = pytest.mark.full

NEXT = re.compile(r"^Next:\n((?:  .+\n)+)", re.MULTILINE)
ADDRESS = re.compile(r"http://localhost:(\d+)")


class Terminal:
    """A terminal with a shell in it: one types, and reads what appears."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._ours, theirs = os.openpty()
        os.set_blocking(self._ours, False)
        self._shell = subprocess.Popen(
            ["/bin/sh", "-i"],
            cwd=folder,
            env=environment_for(PS1="$ ", TERM="dumb", ENV="", **environment),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            # Password prompts and Ctrl-C need a terminal that belongs to the session.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.screen = ""

    def type(self, text: str) -> None:
        """Type a line; what was on the screen before is forgotten."""
        self.screen = ""
        os.write(self._ours, f"{text}\n".encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.screen = ""
        os.write(self._ours, b"\x03")

    def read(self, text: str, *, seconds: float = 120) -> None:
        """Read until this text appears."""

        def appeared() -> bool:
            with suppress(BlockingIOError):
                self.screen += os.read(self._ours, 65536).decode(errors="replace")
            return text in self.screen

        wait_until(appeared, f"{text!r} on the terminal", seconds=seconds, evidence=self.__str__)

    def __str__(self) -> str:
        return self.screen

    def close(self) -> None:
        kill([self._shell.pid])
        self._shell.wait()
        os.close(self._ours)


@contextmanager
def terminal_in(folder: Path, **environment: str) -> Iterator[Terminal]:
    terminal = Terminal(folder, **environment)
    try:
        yield terminal
    finally:
        kill(processes_in(folder))
        terminal.close()


@pytest.mark.parametrize("database", CHOICES["database"])
def test_three_commands_lead_to_the_page(
    database: str,
    workshop: Path,
    request: pytest.FixtureRequest,
    terminal: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """They set up, create an account and run; the account works at the address; Ctrl-C ends it."""
    made_before, server = "default_project", {}
    if database == "postgresql":
        made_before = "postgresql_project"
        # On the newcomer's machine it is where PostgreSQL's programs look by themselves.
        server = {"PGHOST": f"{request.getfixturevalue('postgresql').folder}", "PGUSER": "tests"}
    folder = workshop / f"first day with {database}"
    folder.mkdir()
    said = terminal(TEMPLATE, "--no-input", "--output-dir", folder, f"database={database}")
    assert said.returncode == 0, said.stderr
    set_up, add_user, run = NEXT.search(said.stdout)[1].splitlines()
    port = int(ADDRESS.search(run)[1])
    if not is_free(port):
        missing(f"port {port}, on which `make run` serves, is taken: ss -ltnp 'sport = :{port}'")
    # The packages are in pip's cache, as on a machine with an earlier service.
    project = folder / "my-service"
    copy_environment(request.getfixturevalue(made_before).folder / ".venv", project / ".venv")

    password = secrets.token_urlsafe(16)
    with terminal_in(folder, **server) as shell:
        shell.read("$ ")
        shell.type(f"{set_up} && echo set up: $?")
        shell.read("set up: 0")
        shell.type(add_user)
        shell.read("Password")
        shell.type(password)
        shell.read("again")
        shell.type(password)
        shell.read("Made the account demo")
        shell.type(run)
        shell.read("Serving")

        browser = Program(Project(project, "nginx", 8000), port)
        cookies = browser.sign_in("demo", password)
        with browser.client(cookies=cookies) as client:
            assert "Hello, demo" in client.get("/").text

        shell.interrupt()
        shell.read("$ ")
        shell.type("exit")
        wait_until(lambda: not processes_in(folder), "all has ended", evidence=lambda: shell.screen)
    assert is_free(port)


def test_uv_sets_up_a_project(workshop: Path) -> None:
    """The README's line for uv gives the same commands."""
    project = Project.render(workshop / "uv")
    (line,) = re.findall(r"`(uv venv .*?)`", (project.folder / "README.md").read_text())
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    project.must("sh", "-c", line, PATH=tools, UV_SYSTEM_CERTS="true")
    project.must(project.program(project.slug), "migrate")
    found = json.loads(project.must(project.program(project.slug), "check", "--json", CI=""))
    # Whether packages can be audited is a matter of the machine's index.
    assert [finding for finding in found if finding["id"] not in ("V001", "V002")] == []
