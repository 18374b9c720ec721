"""Debian servers to deploy to: containers in which systemd runs, reached over SSH.

    with Site() as site, site.server("web") as server:
        server.run("systemctl is-active nginx")
        server.reboot()

A site is a network with nothing but its servers on it, which this machine reaches by their
addresses. It has a Docker daemon of its own, so it neither needs nor disturbs another one.
"""

import contextlib
import fcntl
import hashlib
import os
import random
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from tests.bake import beside_each_other
from tests.environment import CACHE
from tests.parts import no_servers
from tests.running.processes import wait_until
from tests.running.projects import missing, require

BUILD_IMAGE = Path(__file__).with_name("build-image")
IMAGE = "server"
NETWORK = "site"
BOOT_SECONDS = 60

# What systemd needs to run in a container.
AS_A_SERVER = """
    --cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined
    --cgroupns host --volume /sys/fs/cgroup:/sys/fs/cgroup:rw
    --tmpfs /run --tmpfs /run/lock --tmpfs /tmp --stop-signal SIGRTMIN+3
""".split()


class Daemon:
    """A Docker daemon whose socket and log are in this folder."""

    # A socket's path may have 107 characters only.
    folder: Path

    def docker(self, *arguments: str | Path, typed: str = "") -> str:
        """Have the daemon do this; return what it says."""
        done = self.try_docker(*arguments, typed=typed)
        assert done.returncode == 0, f"docker {arguments} failed:\n{done.stdout}{self.evidence()}"
        return done.stdout.strip()

    def try_docker(
        self, *arguments: str | Path, typed: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Have the daemon do this, which may fail."""
        return subprocess.run(
            ["docker", "--host", self.socket, *arguments],
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    @property
    def socket(self) -> str:
        """Where the daemon listens, as DOCKER_HOST takes it."""
        return f"unix://{self.folder}/docker.sock"

    def evidence(self) -> str:
        """The last lines of the daemon's log."""
        return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-10:])

    def wait_until_it_answers(self, daemon: subprocess.Popen[Any]) -> None:
        """Return when this process of the daemon does what it is asked for."""
        wait_until(
            lambda: daemon.poll() is not None or self.try_docker("info").returncode == 0,
            "the Docker daemon answers",
            seconds=60,
            evidence=self.evidence,
        )
        assert daemon.poll() is None, f"the Docker daemon has ended:\n{self.evidence()}"


class Site(Daemon):
    """A network for servers, and the key that opens them."""

    def __enter__(self) -> Self:
        if reason := no_servers():
            missing(f"deploys to servers need {reason}")
        with contextlib.ExitStack() as stack:
            # Images take a disk's file system.
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="site-")))
            disk = CACHE / "servers"
            disk.mkdir(parents=True, exist_ok=True)
            data = stack.enter_context(tempfile.TemporaryDirectory(prefix="docker-", dir=disk))
            self._daemon(stack, disk, data)
            self.docker("import", image(disk), IMAGE)
            self._network(stack)
            self._key()
            self._close = stack.pop_all().close
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def server(self, name: str) -> "Server":
        """A bare server of this host name, which is there within a `with`."""
        return Server(self, name)

    @property
    def ssh_config(self) -> Path:
        """The file with which `ssh -F` reaches every server of the site by its address."""
        return self.folder / "ssh_config"

    @property
    def public_key(self) -> str:
        """What a server must know to let the site's admin in."""
        return (self.folder / "key.pub").read_text()

    def _daemon(self, stack: contextlib.ExitStack, disk: Path, data: str) -> None:
        command = [
            # It ends with these tests, even if they are killed.
            *(require("setpriv"), "--pdeathsig", "TERM", require("dockerd")),
            *("--host", f"unix://{self.folder}/docker.sock", "--pidfile", f"{self.folder}/pid"),
            *("--data-root", data, "--exec-root", f"{self.folder}/run", "--bridge", "none"),
        ]
        # Two that start at the same moment want to make the same chains of the firewall.
        with turn(disk / "daemon.lock"), (self.folder / "log").open("w") as log:
            daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            stack.callback(daemon.wait)
            stack.callback(daemon.terminate)
            self.wait_until_it_answers(daemon)

    def _network(self, stack: contextlib.ExitStack) -> None:
        # The range for tests of networks. Addresses are given out here: a server keeps its own
        # when it boots again.
        numbers = beside_each_other(range(256))
        network = f"198.18.{random.choice(numbers)}"  # noqa: S311
        self._addresses = (f"{network}.{number}" for number in range(10, 250))
        self.docker("network", "create", "--internal", "--subnet", f"{network}.0/24", NETWORK)
        stack.callback(self.try_docker, "network", "rm", NETWORK)

    def next_address(self) -> str:
        """An address that no server of the site has had."""
        return next(self._addresses)

    def _key(self) -> None:
        key = self.folder / "key"
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]
        subprocess.run(make, check=True)
        self.ssh_config.write_text(
            f"User admin\nIdentityFile {key}\nIdentitiesOnly yes\n"
            f"UserKnownHostsFile {self.folder}/known_hosts\nStrictHostKeyChecking accept-new\n"
            "LogLevel ERROR\n"
        )


class Server:
    """One server. Its user `admin`, who may become root, is who comes in over SSH."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self.name = name
        self.address = site.next_address()

    def __enter__(self) -> Self:
        self.site.docker(
            *("run", "--detach", "--name", self.name, "--hostname", self.name),
            *("--network", NETWORK, "--ip", self.address, *AS_A_SERVER, IMAGE, "/sbin/init"),
        )
        try:
            self._wait_until_up()
            self.run(
                "install -d -o admin -m 0700 ~admin/.ssh && "
                f"echo {shlex.quote(self.site.public_key)} > ~admin/.ssh/authorized_keys"
            )
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error:
            print(self.evidence())
        self.remove()

    def remove(self) -> None:
        """Take it away, as if its power was cut for good."""
        self.site.docker("rm", "--force", self.name)

    def run(self, command: str, *, typed: str = "") -> str:
        """Run this in root's shell on the server; it must succeed. Return what it says."""
        done = self.try_run(command, typed=typed)
        assert done.returncode == 0, f"{self.name}: {command}: {done.returncode}\n{done.stdout}"
        return done.stdout.strip()

    def try_run(self, command: str, *, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run this in root's shell on the server; it may fail."""
        return self.site.try_docker("exec", "-i", self.name, "sh", "-c", command, typed=typed)

    def ssh(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run this as the admin who comes in over SSH."""
        return subprocess.run(
            ["ssh", "-F", self.site.ssh_config, self.address, command],
            capture_output=True,
            text=True,
            check=False,
        )

    def reboot(self) -> None:
        """Shut it down in order and boot it again."""
        self.site.docker("restart", "--time", "60", self.name)
        self._wait_until_up()

    def cut_power(self) -> None:
        """End everything that runs on it, at once."""
        self.site.docker("kill", self.name)

    def power_on(self) -> None:
        """Boot it again after its power was cut."""
        self.site.docker("start", self.name)
        self._wait_until_up()

    def wait_until(self, condition: Callable[[], Any], what: str) -> Any:
        """Return what the condition gives as soon as that is true; too late, fail with the journal.

        What fails on the server meanwhile is not true yet.
        """

        def holds() -> Any:
            with contextlib.suppress(AssertionError):
                return condition()

        return wait_until(holds, what, seconds=BOOT_SECONDS, evidence=self.evidence)

    def _wait_until_up(self) -> None:
        self.wait_until(lambda: self._state() in ("running", "degraded"), f"{self.name} has booted")

    def _state(self) -> str:
        return self.try_run("systemctl is-system-running").stdout.strip()

    def evidence(self) -> str:
        """What is not well on the server, and the last lines of its journal."""
        said = self.try_run("systemctl --failed --no-legend; journalctl --no-pager --lines 40")
        return f"--- {self.name}\n{said.stdout}"


@contextlib.contextmanager
def turn(lock: Path) -> Iterator[None]:
    """Hold a lock within this block, against all processes."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def image(folder: Path) -> Path:
    """The disk of a bare server, made if it is not in this folder."""
    return made(folder, BUILD_IMAGE)


def made(folder: Path, recipe: Path, *inputs: Path) -> Path:
    """The disk that this recipe makes of these, made if it is not in this folder.

    Files that are made so have the hashes of their recipes as names.
    """
    names = "".join(path.name for path in inputs).encode()
    system = Path("/etc/os-release").read_bytes()
    disk = folder / f"{hashlib.sha256(recipe.read_bytes() + system + names).hexdigest()[:16]}.tar"
    # Tests that come meanwhile wait for the one that makes it.
    with turn(disk.with_suffix(".lock")):
        if not disk.exists():
            require("debootstrap")
            done = subprocess.run(
                ["bash", recipe, *inputs, disk],
                env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            tail = "\n".join(done.stdout.splitlines()[-20:])
            assert done.returncode == 0, f"{recipe} failed:\n{tail}"
    return disk
