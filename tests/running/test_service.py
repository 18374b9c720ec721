"""The service alone: in debug mode, in the three ways to run several processes, and at its end."""

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from tests.running.processes import Program, Service, processes_in
from tests.running.projects import Project

pytestmark = pytest.mark.full

NAME = re.compile(r"^NAME = .*$", re.MULTILINE)


@pytest.fixture
def project(default_project: Project) -> Iterator[Project]:
    """A project whose sources a test may change, and in which it leaves nothing running."""
    sources = default_project.package / "__init__.py"
    content = sources.read_text()
    yield default_project
    sources.write_text(content)
    assert not processes_in(default_project.folder)


@pytest.fixture
def port(project: Project) -> int:
    """A port that is free."""
    return project.first_port


def test_make_run_reloads_even_after_a_syntax_error(project: Project, port: int) -> None:
    """`make run` serves in debug mode, survives a broken source, and serves the corrected one."""
    sources = project.package / "__init__.py"
    with Program(project, port, "make", "run", PORT=f"{port}") as service:

        def shows(name: str) -> bool:
            return service.ready and f"<title>{name}</title>" in service.client().get("/").text

        def save(literal: str) -> None:
            """Give the service another name, again and again: Tornado looks twice a second."""
            sources.write_text(NAME.sub(f"NAME = {literal}", sources.read_text()))

        assert shows("My Service")
        service.wait_until(lambda: "GET / 200" in service.output, "the request is on the terminal")

        service.wait_until(
            lambda: "SyntaxError" in service.output or save('"Broken'),
            "the error is on the terminal",
        )
        assert service.running
        service.wait_until(lambda: shows("Mended") or save('"Mended"'), "the page has the new name")

        service.signal(signal.SIGINT)
        service.wait(10)


def test_make_run_reports_a_wrong_setting(project: Project, port: int) -> None:
    """With a wrong setting, `make run` names it and ends."""
    done = project.run("make", "run", PORT=f"{port}", LOG_LEVEL="LOUD")
    assert done.returncode != 0
    assert "LOG_LEVEL:" in done.stdout


def test_one_process_on_its_own_port(project: Project, port: int) -> None:
    """It answers there, logs JSON, and sends no `Server` header."""
    with Service(project, port) as service, service.client() as client:
        answer = client.get("/")
        assert answer.status_code == 200
        assert "Server" not in answer.headers
        (entry,) = service.wait_until(
            lambda: [entry for entry in service.requests() if entry["path"] == "/"], "it is logged"
        )
        assert entry["request_id"] == answer.headers["X-Request-Id"]


def test_several_copies_share_a_port(project: Project, port: int) -> None:
    """With --reuse-port, all copies on a port get requests, and the others continue without one."""
    with ExitStack() as all_copies:
        copies = [
            all_copies.enter_context(Service(project, port, "--reuse-port")) for _ in range(3)
        ]

        def ask() -> bool:
            """Ask anew, since a connection stays with its copy; whether all have answered."""
            assert httpx.get(copies[0].url, trust_env=False).status_code == 200
            return all(copy.requests() for copy in copies)

        copies[0].wait_until(ask, "all copies have answered")
        assert copies.pop(0).stop() == 0
        for _ in range(20):
            assert httpx.get(copies[0].url, trust_env=False).status_code == 200


def test_one_parent_forks(project: Project, port: int) -> None:
    """With --fork 3, three processes answer on one port, and end with their parent."""
    with Service(project, port, "--fork", "3") as service:
        cookies = service.sign_in(*service.add_user())
        children = set(processes_in(project.folder)) - {service.pid}
        assert len(children) == 3

        async def who_answers() -> int:
            header = "; ".join(f"{cookie.name}={cookie.value}" for cookie in cookies.jar)
            url = service.url.replace("http", "ws") + "/live"
            live = await websocket_connect(HTTPRequest(url, headers={"Cookie": header}))
            tick = json.loads(await live.read_message())
            live.close()
            return tick["pid"]

        answered: set[int] = set()
        try:
            for _ in children:
                pid = asyncio.run(asyncio.wait_for(who_answers(), 20))
                answered.add(pid)
                # Out of the way, so that the next answer comes from another.
                os.kill(pid, signal.SIGSTOP)
        finally:
            for pid in answered:
                os.kill(pid, signal.SIGCONT)
        assert answered == children
        assert service.stop() == 0
        service.wait_until(lambda: not processes_in(project.folder), "the children have ended")


def test_debug_mode_refuses_fork(project: Project, port: int) -> None:
    """Both together are refused in one line that gives the reason."""
    said = refusal(Service(project, port, "--debug", "--fork", "2"))
    assert "--fork" in said
    assert "debug" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_ends_cleanly(number: signal.Signals, project: Project, port: int) -> None:
    """SIGTERM and Ctrl-C make it drain and exit with 0, and its port is free at once."""
    with Service(project, port) as service:
        assert service.stop(number) == 0
        messages = [json.loads(line)["message"] for line in service.output.splitlines()]
        assert messages[-2:] == ["Draining", "Stopped"]
    with Service(project, port):
        pass


@pytest.mark.parametrize("options", [(), ("--fork", "2")], ids=["alone", "forking"])
def test_a_taken_port_is_a_one_line_error(
    options: tuple[str, ...], project: Project, port: int
) -> None:
    """If another program listens, the service names the remedy, and exits with 1."""
    with socket.create_server(("127.0.0.1", port)):
        said = refusal(Service(project, port, *options))
    assert str(port) in said
    assert "another" in said


def refusal(service: Service) -> str:
    """Start what must not start; return the one line that it says."""
    assert service.launch().wait() == 1, service.evidence()
    (said,) = service.output.splitlines()
    return said
