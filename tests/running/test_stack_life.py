"""`make stack` from start to end: its refusals, its environments, and its traces."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.bake import is_free
from tests.running.processes import READY_SECONDS, Program, Stack, processes_in
from tests.running.projects import Project, missing

pytestmark = pytest.mark.full

# Long enough that no socket's path could be told in full: that may have 107 characters.
# Each engine that reads it has characters of its own that mean something else.
DEEP = Path("a deep folder", "ünïcode", "50%b %(x)s $HOME", 'a "quote"', *["and more spaces"] * 12)

# A network as on a machine without IPv6, whose hosts file still has ::1.
WITHOUT_IPV6 = (
    *("unshare", "--map-root-user", "--net", "--mount", "sh", "-c"),
    "ip link set lo up && sysctl -q net.ipv6.conf.all.disable_ipv6=1"
    " && mount -t tmpfs none /mnt && echo '127.0.0.1 localhost\n::1 localhost' > /mnt/hosts"
    ' && mount --bind /mnt/hosts /etc/hosts && exec "$@"',
    "sh",
)

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
    """Ctrl-C reaches all in the foreground; each process drains, none remains, ports are free."""
    with Stack(each_project) as stack:
        assert set(stack.worker_pids()) == set(stack.worker_ports)
        stack.stop(signal.SIGINT)
    assert_drained(stack)
    assert_gone(each_project)


def test_a_second_ctrl_c_ends_it_at_once(default_project: Project) -> None:
    """After the second Ctrl-C nothing is left, either."""
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


def test_https_with_one_word(each_project: Project) -> None:
    """`make stack HTTPS=1` also prints the https address; cookies are bound to https there."""
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


def test_a_mistake_in_a_file_is_reported(default_project: Project) -> None:
    """If supervisord refuses its configuration, the terminal shows the reason."""
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
def test_a_taken_port_is_a_one_line_error(which: str, each_project: Project) -> None:
    """Before anything starts, one line names the port and the command that finds its owner."""
    first, *_, last = each_project.worker_ports
    port = {"first": first, "last": last, "balancer": each_project.balancer_port}[which]
    with socket.create_server(("127.0.0.1", port)):
        done = each_project.run(each_project.program("python"), "deploy/local/stack")
    assert done.returncode == 1
    (said,) = done.stdout.splitlines()
    assert f"Port {port} is taken" in said
    assert f"ss -ltnp 'sport = :{port}'" in said


def test_a_missing_balancer_is_a_one_line_error(each_project: Project) -> None:
    """Before anything starts, one line has the command that installs it."""
    python = each_project.program("python")
    done = each_project.run(python, "-c", NOTHING_INSTALLED, "deploy/local/stack")
    assert done.returncode == 1
    (said,) = done.stdout.splitlines()
    package = {"nginx": "nginx-light", "haproxy": "haproxy"}[each_project.balancer]
    assert f"{each_project.balancer} is not installed" in said
    assert f"apt-get install {package}" in said


def test_it_runs_without_ipv6(each_project: Project) -> None:
    """On a kernel without IPv6 the stack becomes ready, and starts its balancer once."""
    if subprocess.run([*WITHOUT_IPV6, "true"], capture_output=True, check=False).returncode:
        missing("this machine makes no networks for tests: unshare --map-root-user --net")
    # Only it can see whether it answers: it has a network of its own.
    stack = Program(each_project, each_project.balancer_port, *WITHOUT_IPV6, "make", "stack")
    stack.launch()
    try:
        stack.wait_until(lambda: "Ready: " in stack.output, "it is ready", seconds=READY_SECONDS)
        assert "spawnerr" not in stack.output
        assert stack.output.count("spawned: 'balancer'") == 1
        stack.stop(signal.SIGINT)
    except BaseException:
        stack.kill()
        raise
    assert processes_in(each_project.folder) == {}


def test_it_survives_the_end_of_its_terminal_under_nohup(default_project: Project) -> None:
    """SIGHUP ends a stack in order; one that was started with nohup continues."""
    with Stack(default_project, "nohup", "make", "stack") as stack:
        os.killpg(stack.pid, signal.SIGHUP)
        stack.wait_until(lambda: stack.ready and stack.states() == {"RUNNING"}, "it still runs")
        assert "received SIGTERM" not in stack.output
        stack.stop(signal.SIGINT)
    with Stack(default_project) as stack:
        os.killpg(stack.pid, signal.SIGHUP)
        stack.wait()
    assert_drained(stack)
    assert_gone(default_project)


def test_leftovers_of_a_killed_stack_are_found(each_project: Project) -> None:
    """After SIGKILL the next start names what still runs; at a terminal it offers to stop it."""
    command = (str(each_project.program("python")), "deploy/local/stack")
    with Stack(each_project, *command) as killed:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    (pid,) = (
        pid
        for pid, command in processes_in(each_project.folder).items()
        if "supervisord" in command
    )
    said = each_project.run(*command, typed="")
    assert said.returncode == 1
    assert said.stdout == (
        f"A stack of this project still runs, as process {pid}. Stop it: kill {pid}\n"
    )

    terminal, end = os.openpty()
    os.write(terminal, b"y\n")
    # What was left still answers, so an answer does not say that the new one is there.
    stack = Stack(each_project, *command, stdin=end).launch()
    try:
        stack.wait_until(lambda: "Ready: " in stack.output, "it is ready", seconds=READY_SECONDS)
        assert f"as process {pid}. Stop it? [y/N]" in stack.output
        stack.stop(signal.SIGINT)
    except BaseException:
        stack.kill()
        raise
    finally:
        os.close(terminal)
        os.close(end)
    assert_gone(each_project)


def test_too_few_open_files_are_a_one_line_error(each_project: Project) -> None:
    """With a limit that supervisord refuses, one line names it and how to raise it."""
    limited = ("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh")
    done = each_project.run(*limited, each_project.program("python"), "deploy/local/stack")
    assert done.returncode == 1
    (said,) = done.stdout.splitlines()
    assert "may open 256 files" in said
    assert "ulimit -n" in said


# Runs a program as a user whom /etc/passwd does not know.
WITHOUT_A_NAME = (
    "import pwd, runpy, sys; pwd.getpwuid = {}.__getitem__; sys.argv = sys.argv[1:];"
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def test_a_roll_on_odd_machines(default_project: Project) -> None:
    """A user without a name can roll; one line reports a full disk."""
    python = default_project.program("python")
    with Stack(default_project) as stack:
        done = default_project.run(python, "-c", WITHOUT_A_NAME, "deploy/roll")
        assert done.returncode == 0, done.stdout
        pids = stack.worker_pids()
        full = ("sh", "-c", 'ulimit -f 0 && exec "$@"', "sh")
        done = default_project.run(*full, python, "deploy/roll")
        assert done.returncode == 1
        assert "refuses what a roll needs: " in done.stdout
        assert "Traceback" not in done.stdout
        assert stack.worker_pids() == pids
    assert_gone(default_project)


def test_a_copy_runs_its_own_code(default_project: Project, workshop: Path) -> None:
    """A project that is copied or moved, .venv included, gets its own from `make setup`."""
    copy = shutil.copytree(default_project.folder, workshop / "copy" / "my-service", symlinks=True)
    imported = ("-c", f"import {default_project.package_name} as it; print(it.__file__)")
    for folder in (copy, workshop / "moved"):
        if folder != copy:
            copy.rename(folder)
        project = Project(folder, "nginx", default_project.first_port)
        said = project.must("make", "setup")
        assert "moved or copied" in said
        assert Path(project.must(project.program("python"), *imported).strip()).is_relative_to(
            project.folder
        )
        project.must(project.program(default_project.slug), "--help")
        assert "moved or copied" not in project.must("make", "setup")
