"""The release program of a server, in a folder: with real files and processes, and every fault.

Its steps are the program's own. Only what takes minutes or root is played: pip, the process
manager, the load balancer. On a server all of it is in tests/servers/test_deploy.py.
"""

import contextlib
import errno
import hashlib
import importlib
import importlib.util
import itertools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.bake import bake, free_first_port
from tests.running.load import scaled
from tests.running.processes import wait_until

WORKER = """
import json, os, socket, sys, time
home, port = sys.argv[1], int(sys.argv[2])
name = os.path.basename(os.readlink(home + "/current"))
if os.path.exists(f"{home}/releases/{name}/crashes"):
    sys.exit(1)
with open(home + "/shared/.env") as file:
    env = file.read()
body = json.dumps({"release": name, "env": env})
body += f"\\nprocess_start_time_seconds {time.time()}\\n"
listener = socket.create_server(("127.0.0.1", port))
while True:
    connection, _ = listener.accept()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + body.encode())
    connection.close()
"""
DEADLINE_SECONDS = 10
# Every fault at every step takes minutes.
STRIDE = scaled(4, 1)
MODULES = ("home", "balancer", "processes", "steps")


class Fault:
    """What happens at the n-th step of a run: it is killed, it fails, or the disk is full."""

    def __init__(self, kind: str = "", number: int = 0) -> None:
        self.kind = kind
        self.number = number
        self.full = False
        self._count = itertools.count(1)

    def tick(self) -> None:
        if next(self._count) != self.number:
            return
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.kind == "full":
            self.full = True
        if self.kind == "fail":
            raise sys.modules["home"].Problem("It fails on purpose.")


class World:
    """The folder of a service on a server, and the processes that run from there."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.home = folder / "home"
        self.project = project
        first = free_first_port(2)
        self.ports = range(first, first + 2)
        for name in ("releases", "runs", "wheels", "environments", "incoming", "shared/var"):
            (self.home / name).mkdir(parents=True)
        (self.home / "shared/published").mkdir()
        self.worker = folder / "worker.py"
        self.worker.write_text(WORKER)
        self.runs = itertools.count(1)

    def bring(self, release: str, env: str, *, crashes: bool = False) -> str:
        """Put a bundle and settings where the control machine would; return the run's name."""
        run = f"run-{next(self.runs)}"
        with tempfile.TemporaryDirectory() as name:
            bundle = Path(name)
            (bundle / "wheels").mkdir()
            (bundle / "wheels/service.whl").touch()
            (bundle / "requirements.txt").write_text("one==1\n")
            (bundle / "src/my_service/static").mkdir(parents=True)
            layout = json.loads((self.project / "deploy/release/layout.json").read_text())
            layout |= {"first_port": self.ports[0], "process_count": len(self.ports)}
            (bundle / "deploy/release").mkdir(parents=True)
            (bundle / "deploy/release/layout.json").write_text(json.dumps(layout))
            if crashes:
                (bundle / "crashes").touch()
            with tarfile.open(self.home / f"incoming/{release}.tar", "w") as archive:
                archive.add(bundle, arcname=".")
        (self.home / "wheels" / lock_of("one==1\n")).mkdir(exist_ok=True)
        files = {"env": env, "server.json": json.dumps({"certificate": "none", "proxies": []})}
        (self.home / f"incoming/{run}.json").write_text(json.dumps(files))
        return run

    def run(self, what: Callable[[Any], object], fault: Fault | None = None) -> tuple[int, str]:
        """Do this with the steps in a process of its own; return its exit code and what it says."""
        output = self.home.parent / "output"
        pid = os.fork()
        if not pid:
            self._child(what, fault or Fault(), output)
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return pid, ""
        return os.waitstatus_to_exitcode(status), output.read_text()

    def _child(self, what: Callable[[Any], object], fault: Fault, output: Path) -> NoReturn:
        # Nobody reads what the tests around it print.
        sys.stdout = output.open("w")
        code = 70
        try:
            program = load(self.project)
            user = pwd.getpwuid(os.getuid()).pw_name
            home = program["home"].Home(self.home, user)
            home.certificates = self.home / "certificates"
            instrument(program, fault)
            with home.lock("a run"):
                steps = played(program, self, home, fault)
                what(steps)
            code = 0
        except sys.modules["home"].Problem as problem:
            print(problem, flush=True)
            code = 1
        except BaseException as error:
            print(repr(error))
        finally:
            sys.stdout.flush()
            os._exit(code)

    def deploy(self, release: str, run: str, fault: Fault | None = None) -> tuple[int, str]:
        return self.run(lambda steps: steps.deploy(release, run), fault)

    # --- Its processes ---

    def start(self, port: int) -> None:
        command = [sys.executable, "-I", "-S", self.worker, self.home, str(port)]
        process = subprocess.Popen(command, start_new_session=True)
        (self.home.parent / f"{port}.pid").write_text(str(process.pid))

    def stop(self, port: int) -> None:
        file = self.home.parent / f"{port}.pid"
        if file.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)
            file.unlink()
            self.wait_until(lambda: self.answer(port) is None, f"{port} is closed")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, what, seconds=DEADLINE_SECONDS, evidence=lambda: str(self.answers()))

    def stop_all(self) -> None:
        for port in self.ports:
            self.stop(port)

    def boot(self) -> None:
        """The power was cut: the program has its word, then the process manager starts them."""
        self.stop_all()
        code, said = self.run(lambda steps: steps.boot())
        assert code == 0, said
        if (self.home / "current").exists():
            for port in self.ports:
                self.start(port)
            self.wait_until(lambda: None not in self.answers(), "all processes answer")

    def answer(self, port: int) -> dict[str, str] | None:
        """What the process on this port serves: its release, and its settings."""
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                answer = connection.makefile("rb").read().partition(b"\r\n\r\n")[2]
                return dict(json.loads(answer.partition(b"\n")[0]))
        except (OSError, ValueError):
            return None

    def answers(self) -> list[dict[str, str] | None]:
        return [self.answer(port) for port in self.ports]

    def serves(self, release: str, env: str) -> bool:
        """Whether all processes serve this release with these settings, and are to start so."""
        wanted = {"release": release, "env": env}
        here = (self.home / "shared/.env").read_text()
        current = (self.home / "current").readlink().name
        return self.answers() == [wanted] * len(self.ports) and (current, here) == (release, env)

    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.home / "state.json").read_text()))


def lock_of(text: str) -> str:
    """The name that a lock of this text has on a server."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(project: Path) -> dict[str, ModuleType]:
    """The program's own modules."""
    sys.path.insert(0, str(project / "deploy/release"))
    return {name: importlib.import_module(name) for name in MODULES}


def instrument(program: dict[str, ModuleType], fault: Fault) -> None:
    """Have the fault happen before and after each change of a file."""
    home = program["home"].Home

    def around(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            fault.tick()
            result = original(*arguments, **options)
            fault.tick()
            return result

        setattr(owner, name, wrapped)

    for name in ("save", "switch", "adopt", "keep", "restore"):
        around(home, name)

    def full(original: Callable[..., Any]) -> Callable[..., Any]:
        def limited(*arguments: Any, **options: Any) -> Any:
            if fault.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*arguments, **options)

        return limited

    program["home"].tempfile.mkstemp = full(tempfile.mkstemp)
    Path.symlink_to = full(Path.symlink_to)  # type: ignore[method-assign]
    Path.mkdir = full(Path.mkdir)  # type: ignore[method-assign]


def played(program: dict[str, ModuleType], world: World, home: Any, fault: Fault) -> Any:
    """The program's steps, with what takes minutes or root played by this test."""
    problem = program["home"].Problem

    class Console(program["home"].Console):  # type: ignore[misc, name-defined]
        def run(self, step: str, *command: Any, cwd: Path, live: bool = False) -> str:
            fault.tick()
            words = [str(word) for word in command]
            if words[0] == "tar":
                super().run(step, *command, cwd=cwd, live=live)
            elif words[:3] == ["python3", "-m", "venv"]:
                folder = cwd / words[-1]
                version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
                (folder / "lib" / version / "site-packages").mkdir(parents=True)
            elif "--preflight" in words and (cwd / "crashes").exists():
                raise problem(f"{step}: failed.")
            fault.tick()
            return ""

    class Processes(program["processes"].Processes):  # type: ignore[misc, name-defined]
        as_service = ()

        def start(self, release: Any, state: Any) -> bool:
            fault.tick()
            fresh = world.answers() == [None] * len(world.ports)
            state.started = {"unit": release.layout.unit, "ports": release.layout.ports}
            self.home.save(state)
            return fresh

        def roll(self, release: Any, *, fresh: bool, proven: bool, seconds: int) -> None:
            for port in world.ports:
                fault.tick()
                world.stop(port)
                fault.tick()
                world.start(port)
                end = time.monotonic() + DEADLINE_SECONDS
                while (world.answer(port) or {}).get("release") != release.name:
                    if (release.folder / "crashes").exists() or time.monotonic() > end:
                        raise problem(f"{port} does not come back")
                fault.tick()

        def stop_others(self, release: Any) -> None:
            fault.tick()

    class Balancer(program["balancer"].Balancer):  # type: ignore[misc, name-defined]
        def refuse(self, release: Any, staged: Path) -> None:
            fault.tick()

        def apply(self, release: Any, loaded: str) -> str:
            fault.tick()
            return "loaded"

        def _visit(self, layout: Any, path: str) -> str:
            fault.tick()
            return ""

    console = Console()
    processes = Processes(
        home, console, program["home"].Layout.read(world.project / "deploy/release")
    )
    return program["steps"].Steps(home, console, processes, Balancer(home, console))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bake(tmp_path_factory.mktemp("release"))


@pytest.fixture
def world(project: Path, tmp_path: Path) -> Iterator[World]:
    """A service of which one release serves."""
    world = World(tmp_path, project)
    try:
        code, said = world.deploy("a", world.bring("a", "old"))
        assert code == 0, said
        yield world
    finally:
        world.stop_all()


def back_to_the_first(world: World) -> None:
    """Have the first release serve as in the beginning, and forget the second."""
    code, said = world.deploy("a", world.bring("a", "old"))
    assert code == 0, said
    shutil.rmtree(world.home / "releases/b", ignore_errors=True)
    state = world.state() | {"history": ["a"]}
    (world.home / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize("then", ["deploy", "boot"])
def test_a_run_that_is_killed_at_any_step(then: str, world: World) -> None:
    """The next deploy completes it; after a boot all processes serve the good release."""
    number = 0
    for number in itertools.count(1, STRIDE):
        code, said = world.deploy("b", world.bring("b", "new"), Fault("kill", number))
        if code == 0:
            break
        assert code == -signal.SIGKILL, said
        if then == "boot":
            world.boot()
            good = world.state()["history"][-1]
            assert world.serves(good, {"a": "old", "b": "new"}[good]), (number, world.answers())
            # One that was killed before it was seen to serve is not good.
            assert good == "a" or "Look through" in said, (number, said)
        code, said = world.deploy("b", world.bring("b", "new"))
        assert code == 0, (number, said)
        assert world.serves("b", "new"), number
        back_to_the_first(world)
    assert number > 30


@pytest.mark.parametrize("kind", ["fail", "full"])
def test_a_step_that_fails(kind: str, world: World) -> None:
    """The good release serves with its settings, which is said after it was seen."""
    number = 0
    for number in itertools.count(1, STRIDE):
        code, said = world.deploy("b", world.bring("b", "new"), Fault(kind, number))
        if code == 0:
            break
        assert code == 1, (number, said)
        if "Taken back: a serves" in said or "Nothing has changed; a is" in said:
            assert [answer["release"] for answer in world.answers()] == ["a", "a"], (number, said)
            if kind == "fail":
                assert world.serves("a", "old"), (number, said)
        else:
            # Where the disk is full something may be left as it is; what serves is said.
            assert kind == "full" or world.state()["history"] == ["a", "b"], (number, said)
            serves = [answer and answer["release"] for answer in world.answers()] == ["a", "a"]
            assert ("a serves." in said) == serves, (number, said)
        code, said = world.deploy("b", world.bring("b", "new"))
        assert code == 0, (number, said)
        assert world.serves("b", "new"), number
        back_to_the_first(world)
    assert number > 20


def test_a_release_that_crashes(world: World) -> None:
    """The trial finds it, and no process is touched."""
    before = [(world.home.parent / f"{port}.pid").read_text() for port in world.ports]
    code, said = world.deploy("b", world.bring("b", "new", crashes=True))
    assert code == 1
    assert "Taken back: a serves, as before." in said
    assert world.serves("a", "old")
    assert before == [(world.home.parent / f"{port}.pid").read_text() for port in world.ports]


def test_a_second_run_repairs(world: World) -> None:
    """A deploy of what is deployed touches nothing where all is well, and starts what is dead."""
    run = world.bring("a", "old")
    assert "nothing has changed" in world.run(lambda steps: print(steps.deploy("a", run)))[1]
    world.stop(world.ports[0])
    code, said = world.deploy("a", world.bring("a", "old"))
    assert code == 0, said
    assert "Bringing it back" in said
    assert world.serves("a", "old")


def test_rollbacks_go_back(world: World) -> None:
    """Each goes one release further back, never forward again; one may be named."""
    for release in ("b", "c"):
        assert world.deploy(release, world.bring(release, "old"))[0] == 0
    for release in ("b", "a"):
        assert world.run(lambda steps: steps.rollback(""))[0] == 0
        assert world.serves(release, "old")
    code, said = world.run(lambda steps: steps.rollback(""))
    assert code == 1
    assert "make rollback RELEASE=NAME" in said
    assert "a, b, c" in said
    assert world.run(lambda steps: steps.rollback("c"))[0] == 0
    assert world.serves("c", "old")


def test_a_look_from_elsewhere_takes_back(world: World) -> None:
    """What this server has found good may be taken back, with its settings."""
    assert world.deploy("b", world.bring("b", "new"))[0] == 0
    code, said = world.run(lambda steps: print(steps.take_back("b")))
    assert code == 0, said
    assert "Taken back: a serves" in said
    assert world.serves("a", "old")


def test_a_state_that_cannot_be_read_is_not_none(world: World) -> None:
    """The file and what to write into it are named, and nothing is changed."""
    (world.home / "state.json").write_text('{"history": [')
    code, said = world.deploy("b", world.bring("b", "new"))
    assert code == 1
    assert 'write this into the file and deploy again: {"history": ["a"]}' in said
    assert world.serves("a", "old")
    (world.home / "state.json").write_text('{"history": ["a"]}')
    assert world.deploy("b", world.bring("b", "new"))[0] == 0
    assert world.serves("b", "new")


def test_only_one_run_at_a_time(world: World) -> None:
    """The second names the first, and ends; a killed one holds nothing."""
    run = world.bring("b", "new")
    pid, _ = world.deploy("b", run, Fault("stop", 5))
    try:
        code, said = world.deploy("c", world.bring("c", "new"))
        assert code == 1
        assert "a run since 20" in said
        assert "is under way on this server. Wait for its end." in said
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert world.deploy("c", world.bring("c", "new"))[0] == 0


def test_another_python_gets_its_packages(world: World) -> None:
    """An environment of another version of Python is made anew at a boot."""
    shutil.rmtree(world.home / "environments")
    shutil.rmtree(world.home / "releases/a/.venv")
    world.boot()
    assert list(world.home.glob("environments/*/whole"))
    assert list((world.home / "releases/a").glob(".venv/lib/*/site-packages/locked.pth"))


def test_too_little_space_is_said_before(world: World) -> None:
    """A bundle that the disk cannot hold ends the deploy before it is unpacked."""
    run = world.bring("b", "new")
    with (world.home / "incoming/b.tar").open("r+b") as file:
        file.truncate(shutil.disk_usage(world.home).free)
    code, said = world.deploy("b", run)
    assert code == 1
    assert "MB free, and the release takes" in said
    assert not (world.home / "releases/b").exists()


def test_restarts_after_a_deploy_are_counted(world: World) -> None:
    """For a minute after it; here it is shorter."""

    def watch(steps: Any) -> None:
        spec = importlib.util.spec_from_file_location(
            "program", world.project / "deploy/release/__main__.py"
        )
        program = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(program)
        program.WATCH_SECONDS = 4
        steps.home.lock = lambda _: contextlib.nullcontext()
        layout = steps.home.release("a").layout
        program.watch(None, steps.home, layout)

    restart = threading.Timer(
        1.5, lambda: (world.stop(world.ports[0]), world.start(world.ports[0]))
    )
    restart.start()
    code, said = world.run(watch)
    restart.join()
    assert code == 0, said
    assert world.state()["watched"] == {"seconds": 4, "restarts": 1}


def test_servers_of_before_are_taken_over(world: World) -> None:
    """Where an earlier version of the template has deployed, two links say what is good."""
    (world.home / "state.json").unlink()
    (world.home / "good").symlink_to("releases/a")
    assert world.deploy("b", world.bring("b", "new", crashes=True))[0] == 1
    assert world.serves("a", "old")


def test_what_it_makes_can_be_read(project: Path, tmp_path: Path) -> None:
    """The service's user reads the packages, whatever UMASK the server has."""
    script = (
        "import importlib.util, os, sys; sys.path.insert(0, 'deploy/release');"
        "spec = importlib.util.spec_from_file_location('program', 'deploy/release/__main__.py');"
        "program = importlib.util.module_from_spec(spec); spec.loader.exec_module(program);"
        "program.run = lambda *_: print(oct(os.umask(0))) or 0; sys.argv = ['release', 'boot'];"
        "sys.exit(program.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=project, umask=0o077, check=True, capture_output=True
    )
    assert done.stdout.decode().strip() == "0o22"


class Runs(RuleBasedStateMachine):
    """Any runs with any faults, in any order: what serves is what the last good run has said."""

    project: Path

    @initialize()
    def first(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name), self.project)
        self.names = itertools.count(1)
        self.sure = True
        self.served = ""
        self.deploy(Fault())

    def deploy(self, fault: Fault) -> None:
        name = f"release-{next(self.names):04}"
        code, said = self.world.deploy(name, self.world.bring(name, name), fault)
        self.judge(code, said, name)

    def judge(self, code: int, said: str, name: str) -> None:
        assert code in (0, 1, -signal.SIGKILL), said
        if code == 0:
            self.served = name
        self.sure = code == 0 or "as before" in said or "Nothing has changed" in said

    @rule(kind=st.sampled_from(["", "kill", "fail", "full"]), number=st.integers(1, 45))
    def a_deploy(self, kind: str, number: int) -> None:
        self.deploy(Fault(kind, number))

    @rule()
    def a_crash(self) -> None:
        name = f"release-{next(self.names):04}"
        code, said = self.world.deploy(name, self.world.bring(name, name, crashes=True))
        assert code == 1, said
        self.judge(code, said, name)

    @rule()
    def a_boot(self) -> None:
        self.world.boot()
        self.served = self.world.state()["history"][-1]
        self.sure = True

    @rule()
    def a_rollback(self) -> None:
        history = self.world.state()["history"]
        code, said = self.world.run(lambda steps: steps.rollback(""))
        assert (code == 0) == (len(history) > 1), said
        if code == 0:
            self.judge(code, said, history[-2])

    @invariant()
    def what_is_said_serves(self) -> None:
        if getattr(self, "served", "") and self.sure:
            releases = {(answer or {}).get("release") for answer in self.world.answers()}
            assert releases == {self.served}

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.stop_all()
            self.folder.cleanup()


def test_any_runs_in_any_order(project: Path) -> None:
    """Deploys, rollbacks, boots, with a fault at any step of each."""
    Runs.project = project
    run_state_machine_as_test(
        Runs,
        settings=settings(
            max_examples=scaled(6, 200),
            stateful_step_count=6,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
