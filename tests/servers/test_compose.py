"""The service on one machine with Docker Compose, as the project's documentation says."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.running.assets import named_by_a_page, style_of
from tests.running.projects import require
from tests.servers.deploys import InContainers
from tests.servers.swarm import Node, Swarm

pytestmark = pytest.mark.servers

# Of the container of a process, from its image.
RELEASE = '{{.Label "org.opencontainers.image.version"}}'


class Machine(InContainers):
    """A project, and the one machine on which its owner runs it."""

    def compose(self, *arguments: str, typed: str = "") -> str:
        """Have Docker Compose do this for the project; return what it says."""
        # It is a command of its own in Debian 12, and is there as one in newer ones, too.
        done = subprocess.run(
            [require("docker-compose"), *arguments],
            cwd=self.project.folder,
            env=self.variables,
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"docker-compose {arguments}:\n{done.stdout}{self.logs()}"
        return done.stdout

    def run(self, *command: str, typed: str = "") -> str:
        return self.compose("exec", "-T", "service", self.project.slug, *command, typed=typed)

    def up(self) -> None:
        """Start what Compose finds changed, and wait until all processes are of the last commit."""
        self.compose("up", "--detach")
        self.node.swarm.wait_until(self.serves, f"{self.release} serves")

    def serves(self) -> bool:
        """Whether a page is there, and each process is of the last commit and well."""
        named = ("--filter", "label=com.docker.compose.service=service")
        said = self.node.docker("ps", *named, "--format", f"{RELEASE} {{{{.Status}}}}")
        states = said.splitlines()
        well = [self.release in state and "(healthy)" in state for state in states]
        if well != [True] * self.project.process_count:
            return False
        try:
            with self.client() as client:
                return client.get("/login").status_code == 200
        except httpx.TransportError:
            return False

    def style(self, cookies: httpx.Cookies) -> str:
        """The address of the style sheet; a browser with these cookies must be signed in."""
        # Its connections end with the block: a balancer that stops would wait for them.
        with self.client() as client:
            client.cookies = cookies
            assert client.get("/api/me").status_code == 200
            return style_of(named_by_a_page(client))

    def logs(self) -> str:
        """What all containers have said last."""
        ids = self.node.docker("ps", "--all", "--quiet").split()
        return "\n".join(self.node.try_docker("logs", "--tail", "20", one).stdout for one in ids)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A machine on which Docker runs."""
    with Swarm("one") as swarm:
        swarm.bring_images()
        yield swarm.manager


@pytest.mark.parametrize(("database", "balancer"), [("sqlite", "nginx"), ("postgresql", "haproxy")])
def test_a_machine_keeps_all_data(node: Node, tmp_path: Path, database: str, balancer: str) -> None:
    """A commit becomes a site; another release, and an end of all containers, lose no session."""
    machine = Machine(tmp_path, node, database=database, load_balancer=balancer)
    machine.must("secrets")
    machine.must("image")
    try:
        machine.up()
        with machine.sign_in() as client:
            cookies = client.cookies
        first = machine.style(cookies)
        machine.commit_another_style()
        machine.must("image")
        machine.up()
        assert machine.style(cookies) != first

        machine.compose("down")
        assert not node.docker("ps", "--all", "--quiet")
        machine.up()
        assert machine.style(cookies) != first
    finally:
        machine.compose("down", "--volumes")
