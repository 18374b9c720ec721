"""`make stack` from its start to its end: what it refuses, where it works, what it leaves."""

import re
import signal
import socket
import ssl
from pathlib import Path

import httpx
import pytest

from tests.bake import is_free
from tests.running.processes import Stack, processes_in
from tests.running.projects import Project

pytestmark = pytest.mark.full

# Long enough that no socket's path could be told in full: that may have 107 characters.
DEEP = Path("a deep folder", "ünïcode", "with spaces", *["and more spaces"] * 12)

# Runs a program as if nothing were installed on this machine.
NOTHING_INSTALLED = (
    "import runpy, shutil, sys; shutil.which = lambda *_, **__: None;"
    "runpy.run_path(sys.argv[1], run_name='__main__')"
)


def assert_gone(project: Project) -> None:
    """Assert that a stack has left nothing running and no port taken."""
    assert processes_in(project.folder) == {}
    ports = [*project.worker_ports, project.balancer_port]
    assert [port for port in ports if not is_free(port)] == []


def assert_drained(stack: Stack) -> None:
    """Assert that every process has answered everything and ended by itself."""
    assert stack.output.count("(exit status 0)") >= len(stack.worker_ports), stack.output
    assert "SIGKILL" not in stack.output


def test_ctrl_c_stops_everything(each_project: Project) -> None:
    """Ctrl-C reaches all in the foreground; each process drains, none is left, ports are free."""
    with Stack(each_project) as stack:
        assert set(stack.worker_pids()) == set(stack.worker_ports)
        stack.stop(signal.SIGINT)
    assert_drained(stack)
    assert_gone(each_project)


def test_a_second_ctrl_c_ends_it_at_once(default_project: Project) -> None:
    """Who is in a hurry presses twice: nothing is left then either."""
    with (
        Stack(default_project) as stack,
        socket.create_connection(("127.0.0.1", stack.worker_ports[0])),
    ):
        # A connection that is open keeps its process draining for some seconds.
        stack.signal(signal.SIGINT)
        stack.wait_until(lambda: "received SIGTERM" in stack.output, "it has begun to stop")
        stack.signal(signal.SIGINT)
        stack.wait(2)
    assert_gone(default_project)


def test_it_works_in_any_folder(each_project: Project, workshop: Path) -> None:
    """In a deep folder with spaces it is set up, runs, and ends on SIGTERM with nothing left."""
    project = each_project.copy_to(workshop / each_project.balancer / DEEP)
    with Stack(project) as stack:
        assert set(stack.worker_pids()) == set(stack.worker_ports)
        for address in ("/", "/static/style.css", "/robots.txt"):
            assert httpx.get(f"{stack.url}{address}", trust_env=False).status_code == 200, address
        stack.stop(signal.SIGTERM)
    assert_drained(stack)
    assert_gone(project)


def test_https_is_one_word_away(each_project: Project) -> None:
    """`make stack HTTPS=1` also says where https is; cookies are bound to it there."""
    with Stack(each_project, "make", "stack", "HTTPS=1") as stack:
        said = stack.wait_until(
            lambda: re.search(
                r"^Ready: \S+ and (https://localhost:\d+)", stack.output, re.MULTILINE
            ),
            "both addresses are on the terminal",
        )
        certificate = ssl.create_default_context(
            cafile=each_project.folder / "var" / "tls" / "fullchain.pem"
        )
        answer = httpx.get(f"{said[1]}/login", trust_env=False, verify=certificate)
        assert answer.status_code == 200
        assert answer.headers["Set-Cookie"].startswith("__Host-")
        assert "; Secure" in answer.headers["Set-Cookie"]
        assert httpx.get(f"{stack.url}/healthz", trust_env=False).status_code == 200
    assert_gone(each_project)


def test_a_mistake_in_a_file_is_told(default_project: Project) -> None:
    """Where supervisord refuses its configuration, the terminal has the reason, not silence."""
    workers = default_project.folder / "deploy" / "supervisor" / "workers.conf"
    content = workers.read_text()
    workers.write_text(content.replace("numprocs=4", "numprocs=many"))
    try:
        done = default_project.run(default_project.program("python"), "deploy/local/stack")
    finally:
        workers.write_text(content)
    assert done.returncode != 0
    assert "many" in done.stdout


@pytest.mark.parametrize("which", ["first", "last", "balancer"])
def test_a_taken_port_is_told_in_one_line(which: str, each_project: Project) -> None:
    """Before anything is started, one line names the port and the command that finds its owner."""
    first, *_, last = each_project.worker_ports
    port = {"first": first, "last": last, "balancer": each_project.balancer_port}[which]
    with socket.create_server(("127.0.0.1", port)):
        done = each_project.run(each_project.program("python"), "deploy/local/stack")
    assert done.returncode == 1
    (said,) = done.stdout.splitlines()
    assert f"Port {port} is taken" in said
    assert f"ss -ltnp 'sport = :{port}'" in said


def test_a_missing_balancer_is_told_in_one_line(each_project: Project) -> None:
    """Before anything is started, one line has the command that installs it."""
    python = each_project.program("python")
    done = each_project.run(python, "-c", NOTHING_INSTALLED, "deploy/local/stack")
    assert done.returncode == 1
    (said,) = done.stdout.splitlines()
    package = {"nginx": "nginx-light", "haproxy": "haproxy"}[each_project.balancer]
    assert f"{each_project.balancer} is not installed" in said
    assert f"apt-get install {package}" in said
