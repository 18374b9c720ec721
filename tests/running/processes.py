"""The programs of a project, started as a user starts them, and ended.

    with Stack(project) as stack:
        cookies = stack.sign_in(*stack.add_user())
        httpx.get(f"{stack.url}/api/me", cookies=cookies)

`Stack` is `make stack`; `Service` is one `python -m my_service`. Both are there when they answer,
fail with their last log lines when they do not, and leave nothing behind.
"""

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from xmlrpc.client import ServerProxy

import httpx
from supervisor.xmlrpc import SupervisorTransport

from tests.running.projects import Project, environment_for

READY_SECONDS = 90
STOP_SECONDS = 40

# Asks without keeping connections: a process that stops would wait for those.
ASKING = httpx.Client(trust_env=False, timeout=5, limits=httpx.Limits(max_keepalive_connections=0))


def wait_until(
    condition: Callable[[], Any], what: str, *, seconds: float = 20, evidence: Callable[[], str]
) -> Any:
    """Return what the condition gives as soon as that is true. Too late, fail with the evidence."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}\n{evidence()}")
        time.sleep(0.05)
    return result


def processes_in(folder: Path) -> dict[int, str]:
    """The processes that run in this folder, or below it, with their commands."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        # Others' processes cannot be looked at, and any can end at any time.
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                # What has ended and only waits to be noticed has no command any more.
                if command:
                    found[int(process.name)] = command.strip()
    return found


def kill(pids: Iterator[int] | dict[int, str]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Program:
    """A program that a project runs in the foreground, in a session of its own, at a URL."""

    def __init__(
        self,
        project: Project,
        port: int,
        *command: str | Path,
        folder: Path | None = None,
        stdin: int = subprocess.DEVNULL,
        **environment: str,
    ) -> None:
        self.project = project
        self.url = f"http://localhost:{port}"
        self._command = command
        self._folder = folder or project.folder
        self._stdin = stdin
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error:
            # pytest shows it with the error, which a stop that fails would hide.
            print(self.evidence())
            self.kill()
        elif self.running:
            self.stop()

    def launch(self) -> Self:
        """Start it and wait for nothing."""
        self._output.truncate(0)
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=environment_for(**self._environment),
            stdin=self._stdin,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self.launch()
        try:
            self.wait_until(self._settled, "it is ready", seconds=READY_SECONDS)
            assert self.running, f"ended with {self._process.returncode}\n{self.evidence()}"
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it as a terminal (SIGINT) or a program (SIGTERM) would; return its exit status."""
        self.signal(number)
        return self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: to the program, or as a terminal's Ctrl-C, to all in its foreground."""
        if number == signal.SIGINT:
            os.killpg(self.pid, number)
        else:
            os.kill(self.pid, number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until it has ended; return its exit status."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            evidence = self.evidence()
            self.kill()
            raise AssertionError(f"did not end within {seconds} s\n{evidence}") from None

    def kill(self) -> None:
        """End it and what it has started, at once."""
        kill(processes_in(self._folder))
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it answers that it may get requests."""
        return answers(f"{self.url}/readyz")

    def _settled(self) -> bool:
        return self.ready or not self.running

    def wait_until(self, condition: Callable[[], Any], what: str, *, seconds: float = 20) -> Any:
        """Return what the condition gives as soon as that is true; too late, fail with the logs."""
        return wait_until(condition, what, seconds=seconds, evidence=self.evidence)

    @property
    def output(self) -> str:
        """What it has written on the terminal."""
        return os.pread(self._output.fileno(), 1_000_000, 0).decode(errors="replace")

    def logs(self) -> dict[str, str]:
        """What it has written: its output, and each of its log files."""
        return {"output": self.output}

    def evidence(self) -> str:
        """The last lines of everything it has written."""
        return "\n".join(
            "\n".join([f"--- {name}", *(line[:160] for line in text.splitlines()[-10:])])
            for name, text in self.logs().items()
            if text
        )

    def requests(self) -> list[dict[str, Any]]:
        """What the service has logged of the requests it has answered, oldest first."""
        return [entry for entry in log_entries(self.output) if entry.get("logger") == "request"]

    def add_user(self, name: str = "", password: str = "") -> tuple[str, str]:
        """Make an account; return its name and password."""
        name = name or f"user-{secrets.token_hex(4)}"
        password = password or secrets.token_urlsafe(16)
        command = self.project.program(self.project.slug)
        self.project.must(command, "user", "add", name, "--password-stdin", typed=f"{password}\n")
        return name, password

    def client(self, **options: Any) -> httpx.Client:
        """A browser without a window: it keeps cookies and knows this program's address."""
        return httpx.Client(base_url=self.url, trust_env=False, timeout=20, **options)

    def sign_in(
        self, name: str, password: str, cookies: httpx.Cookies | None = None
    ) -> httpx.Cookies:
        """Sign in by the form, as a browser that has these cookies; return all that it has then."""
        with self.client(cookies=cookies) as client:
            form = client.get("/login").text
            token = re.search(r'name="_xsrf" value="([^"]+)"', form)[1]
            fields = {"name": name, "password": password, "_xsrf": token}

            def answered() -> httpx.Response | None:
                # The balancer limits logins; a test before this one may have used them up.
                answer = client.post("/login", data=fields)
                return None if answer.status_code == 429 else answer

            answer = self.wait_until(answered, "a login let in", seconds=60)
            assert answer.status_code == 303, f"not signed in: {answer}\n{self.evidence()}"
            return client.cookies


class Service(Program):
    """One process of the service, on a port of its own unless told otherwise."""

    def __init__(self, project: Project, port: int, *options: str, **environment: str) -> None:
        command = (project.program("python"), "-m", project.package_name)
        super().__init__(
            project, port, *command, "--host", "127.0.0.1", "--port", f"{port}", *options,
            **environment,
        )  # fmt: skip

    @property
    def ready(self) -> bool:
        # Copies share a port: another one's answer says nothing about this one.
        return "Serving" in self.output and super().ready

    def kill(self) -> None:
        # Its copies run in the same folder; what it has forked is in its own session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


class Stack(Program):
    """`make stack`, or another command for the same: balancer, supervisord and all processes."""

    def __init__(
        self,
        project: Project,
        *command: str,
        folder: Path | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        command = command or ("make", "stack")
        super().__init__(project, project.balancer_port, *command, folder=folder, stdin=stdin)
        self._var: int | None = None

    @property
    def worker_ports(self) -> list[int]:
        return self.project.worker_ports

    @property
    def worker_urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.worker_ports]

    @property
    def ready(self) -> bool:
        """Whether each process may get requests, and gets them through the balancer."""
        return all(answers(f"{url}/readyz") for url in [*self.worker_urls, self.url])

    @property
    def supervisor(self) -> Any:
        """supervisord's own interface: `stack.supervisor.getAllProcessInfo()` and so on."""
        # By way of its folder: a socket's path may have 107 characters, this one may be longer.
        if self._var is None:
            self._var = os.open(self.project.folder / "var", os.O_PATH)
        transport = SupervisorTransport(
            serverurl=f"unix:///proc/self/fd/{self._var}/supervisor.sock"
        )
        return ServerProxy("http://localhost", transport).supervisor

    def worker_pids(self) -> dict[int, int]:
        """The process id behind each port, of the processes that are there."""
        return {
            int(process["name"].rpartition("-")[2]): process["pid"]
            for process in self.supervisor.getAllProcessInfo()
            if process["group"] == self.project.slug and process["pid"]
        }

    def stop_workers(self) -> None:
        """Stop every process of the service; the balancer stays."""
        self.supervisor.stopProcessGroup(self.project.slug, False)
        self.wait_until(lambda: self.states() == {"STOPPED"}, "all processes are stopped")

    def start_workers(self) -> None:
        """Start every process of the service and wait until the balancer reaches them."""
        self.supervisor.startProcessGroup(self.project.slug, False)
        self.wait_until(lambda: self.ready, "all processes are ready", seconds=READY_SECONDS)

    def states(self) -> set[str]:
        """The states of the processes, as supervisord calls them."""
        return {
            process["statename"]
            for process in self.supervisor.getAllProcessInfo()
            if process["group"] == self.project.slug
        }

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        if self._var is not None:
            os.close(self._var)
            self._var = None
        return super().wait(seconds)

    def logs(self) -> dict[str, str]:
        files = sorted((self.project.folder / "var" / "log").glob("*.log"))
        return super().logs() | {path.name: path.read_text(errors="replace") for path in files}

    def requests(self) -> list[dict[str, Any]]:
        """What the processes have logged of the requests they have answered, with their ports."""
        logs = self.logs()
        return [
            entry | {"port": port}
            for port in self.worker_ports
            for entry in log_entries(logs.get(f"{self.project.slug}-{port}.log", ""))
            if entry.get("logger") == "request"
        ]

    def balancer_requests(self) -> list[dict[str, Any]]:
        """What the balancer has logged of the requests it has answered, oldest first."""
        name = {"nginx": "nginx.access.log", "haproxy": "balancer.log"}[self.project.balancer]
        return [entry for entry in log_entries(self.logs()[name]) if "request_id" in entry]


def answers(url: str) -> bool:
    """Whether there is a good answer at a URL."""
    try:
        return ASKING.get(url).status_code == 200
    except httpx.TransportError:
        return False


def log_entries(text: str) -> list[dict[str, Any]]:
    """The JSON objects among the lines of a log; the last line may not be whole yet."""
    lines = (line for line in text.splitlines() if line.startswith("{") and line.endswith("}"))
    return [json.loads(line) for line in lines]
