"""A Docker Swarm on one machine: each node is a Docker daemon in namespaces of its own.

    with Swarm("one", "two") as swarm:
        swarm.bring_images()
        swarm.manager.docker("service", "create", "--replicas", "2", BASE, "sleep", "60")
        swarm.nodes["two"].cut_power()

A node has its own network, processes and mounts, so that it ends as a machine without power does:
at once, with everything that runs on it, also when these tests are killed. The nodes have a network
to themselves, which this machine reaches by their addresses.
"""

import contextlib
import fcntl
import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from tests.bake import beside_each_other
from tests.environment import CACHE
from tests.parts import no_servers
from tests.running.processes import wait_until
from tests.running.projects import missing, require
from tests.servers.servers import Daemon, image, made

# Images need a disk's file system.
DISK = CACHE / "swarms"
BUILD_IMAGE = Path(__file__).with_name("build-container-image")
# An image with Python, nginx, HAProxy and PostgreSQL, and the one that starts PostgreSQL.
BASE = "base"
DATABASE = "database"
DATABASE_RECIPE = f"""
FROM {BASE}
ENTRYPOINT ["docker-entrypoint"]
CMD ["postgres"]
"""
SECONDS = 60

# A program in these ends with the tests, and all that it has started with it.
UNSHARED = """
    setpriv --pdeathsig KILL
    unshare --net --uts --pid --fork --kill-child=KILL --mount-proc --propagation private sh -ec
""".split()
SWITCH = """
ip link add switch up type bridge
echo ready
exec sleep infinity
"""
# /run is empty, as after a boot: the daemon finds nothing there of this machine's own containers.
# A line says that the network cable is plugged in.
NODE = """
mount -t tmpfs tmpfs /run
hostname $2
echo ready
read -r plugged_in
ip link set lo up
ip address add $3/24 dev eth0
ip link set eth0 up
echo {} > $0/daemon.json
exec dockerd --host unix://$0/docker.sock --config-file $0/daemon.json --data-root $1/$2 \
    --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent /${1##*/} \
    > $0/log 2>&1
"""


class Swarm:
    """Nodes that are named, the first of which is the manager."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __enter__(self) -> Self:
        if reason := no_servers():
            missing(f"a swarm needs {reason}")
        for program in ("dockerd", "docker", "ip", "setpriv", "unshare", "nsenter"):
            require(program)
        with contextlib.ExitStack() as stack:
            self.disk = stack.enter_context(disk())
            self._switch(stack)
            self.nodes = {name: stack.enter_context(Node(self, name)) for name in self._names}
            self.manager, *others = self.nodes.values()
            self.manager.docker("swarm", "init", "--advertise-addr", self.manager.address)
            token = self.manager.docker("swarm", "join-token", "--quiet", "worker")
            for node in others:
                join = ("swarm", "join", "--advertise-addr", node.address, "--token", token)
                node.docker(*join, self.manager.address)
            self._close = stack.pop_all().close
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error:
            print(self.evidence())
        self._close()

    def _switch(self, stack: contextlib.ExitStack) -> None:
        # The upper half of the range for tests of networks; servers have the lower one.
        number = random.choice(beside_each_other(range(256)))  # noqa: S311
        network = f"198.19.{number}"
        self._addresses = (f"{network}.{number}" for number in range(10, 250))
        switch = stack.enter_context(unshared(SWITCH))
        self.switch = switch.pid
        # It goes away with its other end.
        link = f"swarm-{number}"
        ip("link", "add", link, "type", "veth", "peer", "name", "uplink", "netns", str(switch.pid))
        ip("address", "add", f"{network}.1/24", "dev", link)
        ip("link", "set", link, "up")
        self.connect("uplink")

    def next_address(self) -> str:
        """An address that no node has had."""
        return next(self._addresses)

    def connect(self, link: str) -> None:
        """Make this link, which is in the switch's network, one of its ports."""
        ip("link", "set", link, "master", "switch", "up", within=self.switch)

    def states(self) -> dict[str, str]:
        """The names of the nodes, and what the manager takes each for."""
        said = self.manager.docker("node", "ls", "--format", "{{.Hostname}} {{.Status}}")
        return dict(line.split() for line in said.splitlines())

    def bring_images(self) -> None:
        """Bring BASE and DATABASE to each node: no node can pull an image."""
        cache = CACHE / "servers"
        cache.mkdir(parents=True, exist_ok=True)
        tar = made(cache, BUILD_IMAGE, image(cache))

        def bring(node: Node) -> None:
            node.docker("import", tar, BASE)
            node.docker("build", "--tag", DATABASE, "-", typed=DATABASE_RECIPE)

        with ThreadPoolExecutor() as executor:
            list(executor.map(bring, self.nodes.values()))

    def distribute(self, name: str) -> None:
        """Bring an image of the manager's to each other node."""
        for node in self.nodes.values():
            if node is not self.manager:
                save = ["docker", "--host", self.manager.socket, "save", name]
                with subprocess.Popen(save, stdout=subprocess.PIPE) as saved:
                    load = ["docker", "--host", node.socket, "load", "--quiet"]
                    subprocess.run(load, stdin=saved.stdout, check=True, capture_output=True)
                assert saved.returncode == 0, f"docker save {name} failed"

    def wait_until(
        self, condition: Callable[[], Any], what: str, *, seconds: float = SECONDS
    ) -> Any:
        """Return what the condition gives as soon as that is true. Too late, fail with evidence."""
        return wait_until(condition, what, seconds=seconds, evidence=self.evidence)

    def evidence(self) -> str:
        """The nodes, the services with their tasks' errors, and what the services say."""
        ask = self.manager.try_docker
        services = ask("service", "ls", "--quiet").stdout.split()
        parts = [ask("node", "ls").stdout, ask("service", "ls").stdout]
        if services:
            parts.append(ask("service", "ps", "--no-trunc", *services).stdout)
        parts += [ask("service", "logs", "--tail", "20", service).stdout for service in services]
        return "\n".join(parts)


class Node(Daemon):
    """One node. It has been started within a `with`."""

    def __init__(self, swarm: Swarm, name: str) -> None:
        self.swarm = swarm
        self.name = name
        self.address = swarm.next_address()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            folder = tempfile.TemporaryDirectory(prefix="node-")
            self.folder = Path(stack.enter_context(folder))
            self._power = stack.enter_context(contextlib.ExitStack())
            self.power_on()
            self._close = stack.pop_all().close
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def power_on(self) -> None:
        """Start its daemon; what it had before its power was cut is there again."""
        daemon = self._power.enter_context(
            unshared(NODE, self.folder, self.swarm.disk, self.name, self.address)
        )
        # The kernel takes its time to remove the one from before its power was cut.
        cable = f"to-{daemon.pid}"
        ip(
            *("link", "add", cable, "netns", str(self.swarm.switch)),
            *("type", "veth", "peer", "name", "eth0", "netns", str(daemon.pid)),
        )
        self.swarm.connect(cable)
        daemon.stdin.write("plugged in\n")
        daemon.stdin.flush()
        self.wait_until_it_answers(daemon)

    def cut_power(self) -> None:
        """End everything that runs on it, at once."""
        self._power.close()


@contextlib.contextmanager
def unshared(script: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A shell that runs this script in namespaces of its own until the end of the block.

    It has said that it is ready.
    """
    with subprocess.Popen(
        [*UNSHARED, script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
            yield process
        finally:
            # When the first process of a namespace has ended, all of them have.
            (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(first), signal.SIGKILL)


def ip(*arguments: str, within: int | None = None) -> None:
    """Change this machine's network, or the one that a process has."""
    enter = ["nsenter", "--target", str(within), "--net"] if within else []
    subprocess.run([*enter, "ip", *arguments], check=True)


@contextlib.contextmanager
def disk() -> Iterator[Path]:
    """A folder for nodes' data within a block; what tests left that were killed is removed."""
    DISK.mkdir(parents=True, exist_ok=True)
    for left in DISK.glob("swarm-*"):
        with contextlib.suppress(BlockingIOError), used(left):
            remove(left)
    made = Path(tempfile.mkdtemp(prefix="swarm-", dir=DISK))
    with used(made):
        try:
            yield made
        finally:
            remove(made)


@contextlib.contextmanager
def used(folder: Path) -> Iterator[None]:
    """Hold this folder within the block, against all processes."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def remove(folder: Path) -> None:
    """Remove nodes' data, and the groups of their processes, of which none is left."""
    for groups in Path("/sys/fs/cgroup").rglob(folder.name):
        for group, _, _ in os.walk(groups, topdown=False):
            Path(group).rmdir()
    shutil.rmtree(folder)
