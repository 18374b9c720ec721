"""The servers of these tests are what they claim to be."""

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.bake import TEMPLATE
from tests.running.processes import wait_until
from tests.servers.servers import Server
from tests.servers.swarm import BASE, Node, Swarm, disk

pytestmark = pytest.mark.servers

SERVE = """
docker service create --detach --name web --mode global --no-resolve-image
    --network inside --endpoint-mode dnsrr --publish mode=host,published=80,target=8000
""".split()[1:]
ASK_ALL = """
import socket, urllib.request
for *_, (address, port) in socket.getaddrinfo("web", 8000, type=socket.SOCK_STREAM):
    print(address, urllib.request.urlopen(f"http://{address}:{port}").status)
"""
SWARM_UNTIL_KILLED = """
import os, signal
from tests.servers.swarm import Swarm
with Swarm("one") as swarm:
    print(swarm.disk, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_is_a_server(bare_server: Server) -> None:
    """Systemd runs on it, its admin comes in over SSH and may become root, and it can reboot."""
    assert bare_server.run("cat /proc/1/comm") == "systemd"
    assert bare_server.run("systemctl is-system-running") == "running"
    assert bare_server.ssh("sudo id -un").stdout.strip() == "root"
    bare_server.run("touch /run/gone /var/kept")
    bare_server.reboot()
    assert bare_server.try_run("ls /run/gone").returncode != 0
    assert bare_server.ssh("ls /var/kept").stdout.strip() == "/var/kept"
    bare_server.cut_power()
    bare_server.power_on()
    assert bare_server.ssh("hostname").stdout.strip() == "bare"


def test_packages_can_be_installed(bare_server: Server) -> None:
    """What a deploy installs is to be had on the server itself, and its services start."""
    bare_server.run("apt-get update && apt-get install -qq --no-install-recommends nginx-light")
    assert bare_server.run("systemctl is-active nginx") == "active"


def answers(node: Node) -> bool:
    """Whether the node serves on its port 80."""
    try:
        return httpx.get(f"http://{node.address}", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def running(folder: Path) -> list[str]:
    """The processes that keep a swarm's data in this folder."""
    processes = subprocess.run(["ps", "-eww", "-o", "args"], check=True, capture_output=True).stdout
    return [line for line in processes.decode().splitlines() if folder.name in line]


def is_left(folder: Path) -> list[str]:
    """What there is of a swarm with this folder: processes, mounts, groups of processes, data."""
    return [
        *running(folder),
        *(line for line in Path("/proc/mounts").read_text().splitlines() if folder.name in line),
        *map(str, Path("/sys/fs/cgroup").rglob(folder.name)),
        *map(str, folder.parent.glob(folder.name)),
    ]


def test_nodes_are_a_swarm() -> None:
    """Containers of all nodes reach each other by name; a node without power is away, and returns.

    Nothing is left of them afterwards.
    """
    with Swarm("one", "two") as swarm:
        swarm.bring_images()
        one, two = swarm.nodes.values()
        assert swarm.states() == {"one": "Ready", "two": "Ready"}
        one.docker("network", "create", "--driver", "overlay", "inside")
        one.docker(*SERVE, BASE, "python3", "-m", "http.server", "8000")
        swarm.wait_until(lambda: answers(one) and answers(two), "both nodes serve")
        (container,) = two.docker("ps", "--quiet").split()
        said = two.docker("exec", container, "python3", "-c", ASK_ALL).split()
        assert said[1::2] == ["200", "200"]
        two.cut_power()
        assert answers(one)
        assert not answers(two)
        two.power_on()
        swarm.wait_until(lambda: answers(two), "its container is started again")
        assert is_left(swarm.disk)
    assert is_left(swarm.disk) == []


def test_a_swarm_ends_with_its_tests() -> None:
    """Killed tests leave data on the disk only, which the next swarm removes."""
    run = [sys.executable, "-c", SWARM_UNTIL_KILLED]
    killed = subprocess.run(run, cwd=TEMPLATE, stdout=subprocess.PIPE, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = Path(killed.stdout.decode().strip())
    wait_until(lambda: not running(left), "its processes end", evidence=lambda: str(running(left)))
    assert is_left(left)
    with disk():
        assert is_left(left) == []
