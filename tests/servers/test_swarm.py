"""The service on a Docker Swarm, with PostgreSQL: deployed, rolled, broken, scaled, its secret new.

All tests share two nodes, and each leaves them serving the last commit that was good. Some forms
are always in flight, so a process that does not drain loses some of them; the fraction of a
millisecond in which one closes its port is shown in tests/running/test_lossless_drain.py.
"""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.bake import CHOICES
from tests.running.assets import is_kept, named_by_a_page, style_of
from tests.running.load import Load, nothing_lost, scaled, usual_requests
from tests.running.projects import Project
from tests.running.websockets import SERVICE_RESTART, Crowd
from tests.servers.broken import ENDS_AT_ITS_START, MIGRATION, NEVER_READY, REASON, next_commit
from tests.servers.deploys import DOMAIN, InContainers
from tests.servers.swarm import Node, Swarm

pytestmark = pytest.mark.servers

REPLICAS = 2
URL = f"http://{DOMAIN}"
# It shares two cores with the nodes and with the build of an image.
RATE = scaled(60, 500)
CONNECTIONS = 16
REQUESTS = scaled(0, 50_000)
BROWSERS = 50
# The default one always; each other takes two minutes more.
BALANCERS = CHOICES["load_balancer"][: scaled(1, 2)]
# Some of these are in flight at any time.
SLOW_FORM = """

import asyncio

_post = Logout.post


async def _post_slowly(self: Logout) -> None:
    await asyncio.sleep(0.3)
    await _post(self)


Logout.post = _post_slowly  # type: ignore[method-assign]
"""
INSTALLED = """
from importlib.metadata import distributions
for package in distributions():
    print(package.name.lower().replace("_", "-"), package.version)
"""
DEBIAN = ("dpkg-query", "--show", "--showformat", "${Package} ${Version}\n")
STYLE = "body { outline: 1px solid red }\n"


# How long a service may be without one of its nodes.
AWAY_SECONDS = 15


class Cluster(InContainers):
    """A project and the nodes to which its owners deploy it."""

    def __init__(self, folder: Path, swarm: Swarm) -> None:
        self.swarm = swarm
        super().__init__(folder, swarm.manager, database="postgresql", process_count=str(REPLICAS))
        with (self.project.package / "handlers" / "login.py").open("a") as login:
            login.write(SLOW_FORM)
        self.commit("Slow forms")

    def build(self) -> None:
        """Build the last commit's image, and bring it to the nodes: here is no registry."""
        self.must("image")
        self.swarm.distribute(self.image)

    def deploy(self) -> None:
        """Build the last commit's image and deploy it."""
        self.build()
        self.must("deploy")
        assert self.serves(self.image)

    @contextmanager
    def behind(self, balancer: str) -> Iterator[None]:
        """Within the block the swarm has this balancer, if it is not the one of the project."""
        if balancer == self.project.balancer:
            yield
            return
        deploy = self.project.folder / "deploy"
        with tempfile.TemporaryDirectory(prefix="other-") as folder:
            port = str(self.project.first_port)
            other = {"load_balancer": balancer, "first_port": port}
            rendered = Project.render(Path(folder), **self.answers | other)
            shutil.copytree(rendered.folder / "deploy", deploy, dirs_exist_ok=True)
        try:
            self.must("deploy")
            yield
        finally:
            self.git("reset", "--quiet", "--hard")
            self.git("clean", "--quiet", "--force", str(deploy))
            self.must("deploy")

    @property
    def service(self) -> str:
        """The name of the service's processes in the swarm."""
        return f"{self.project.slug}_service"

    def tasks(self) -> list[str]:
        """The image and the state of each process that should run, and its node."""
        ask = ("service", "ps", self.service, "--filter", "desired-state=running")
        show = ("--format", "{{.Image}} {{.CurrentState}} {{.Node}}")
        said = self.swarm.manager.docker(*ask, *show)
        return [re.sub(r" (\w+) .* ", r" \1 ", line) for line in said.splitlines()]

    def serves(self, image: str, replicas: int = REPLICAS) -> bool:
        """Whether so many processes of this image run, and nothing else does."""
        states = [task.rpartition(" ")[0] for task in self.tasks()]
        return states == [f"{image} Running"] * replicas

    def containers(self, node: Node) -> list[str]:
        """The ids of the service's containers on a node."""
        label = f"label=com.docker.swarm.service.name={self.service}"
        return node.docker("ps", "--quiet", "--filter", label).split()

    def run(self, *command: str, typed: str = "") -> str:
        """Run one of the service's commands in a container of its."""
        node = next(node for node in self.swarm.nodes.values() if self.containers(node))
        container = self.containers(node)[0]
        return node.docker("exec", "-i", container, self.project.slug, *command, typed=typed)

    def ask_for_files_during(self, target: str) -> tuple[list[str], list[str]]:
        """Run a target and ask for all files that a page named before, which browsers may keep.

        Return those, and those that a page names afterwards.
        """
        with self.client() as client, ThreadPoolExecutor() as executor:
            before = named_by_a_page(client)
            running = executor.submit(self.must, target)
            while wait([running], timeout=0.3).not_done:
                for address in before:
                    assert is_kept(client.get(address)), address
            running.result()
            return before, named_by_a_page(client)

    def session(self) -> str:
        """The cookie of a signed-in user."""
        with self.sign_in() as client:
            return f"{self.project.session_cookie}={client.cookies[self.project.session_cookie]}"

    def load(self) -> Load:
        """Pages, forms and sessions asked for on and on, within a `with`."""
        return Load(URL, usual_requests(self.session()), **self.load_options)

    @contextmanager
    def nothing_lost(self) -> Iterator[Load]:
        """The same, of which every one is answered."""
        with nothing_lost(URL, usual_requests(self.session()), **self.load_options) as load:
            yield load

    @property
    def load_options(self) -> dict[str, object]:
        address = self.swarm.manager.address
        return {"address": address, "connections": CONNECTIONS, "rate": RATE}

    def within(self, *command: str) -> str:
        """Run a program in a new container of the last commit's image, without a network."""
        program, *arguments = command
        how = ("--rm", "--network", "none", "--entrypoint", program)
        return self.swarm.manager.docker("run", *how, self.image, *arguments)

    def all_are_asked(self) -> bool:
        """Whether requests have come to each process."""
        return all(
            '"/logout"' in node.docker("logs", "--tail", "100", container)
            for node in self.swarm.nodes.values()
            for container in self.containers(node)
        )

    def wait_until_it_serves(self, image: str, replicas: int = REPLICAS) -> None:
        self.swarm.wait_until(
            lambda: self.serves(image, replicas), f"{replicas} processes of {image} serve"
        )

    def knows(self, session: str) -> bool:
        """Whether all processes know whose cookie this is, wherever they are asked."""
        for node in self.swarm.nodes.values():
            with self.client(node) as client:
                for _ in range(2 * REPLICAS):
                    try:
                        answer = client.get("/api/me", headers={"Cookie": session})
                    except httpx.TransportError:
                        return False
                    if answer.status_code != 200:
                        return False
        return True


@pytest.fixture(scope="module")
def bare_cluster() -> Iterator[Cluster]:
    """Two nodes to which nothing has been deployed."""
    with (
        tempfile.TemporaryDirectory(prefix="cluster-") as folder,
        Swarm("one", "two") as swarm,
    ):
        swarm.bring_images()
        cluster = Cluster(Path(folder), swarm)
        label = f"database={cluster.project.slug}"
        swarm.manager.docker("node", "update", "--label-add", label, "one")
        cluster.must("secrets")
        yield cluster


@pytest.fixture(scope="module")
def cluster(bare_cluster: Cluster) -> Cluster:
    """The same, where the first release is deployed, as the project's documentation says."""
    bare_cluster.deploy()
    return bare_cluster


def test_a_broken_first_release_is_given_up(bare_cluster: Cluster) -> None:
    """There is none to return to: the deploy ends after some attempts, with the reason."""
    with next_commit(bare_cluster, bare_cluster.project.package / "app.py", ENDS_AT_ITS_START):
        bare_cluster.build()
        assert REASON in bare_cluster.must_fail("deploy")
    # Else the next tests would begin with an update of what ends on and on.
    bare_cluster.swarm.manager.docker("service", "rm", bare_cluster.service)


def test_bare_nodes_become_a_site(cluster: Cluster) -> None:
    """A commit becomes processes on all nodes, and each of the nodes shows a page to sign in on."""
    assert {task.rpartition(" ")[2] for task in cluster.tasks()} == {"one", "two"}
    assert cluster.knows(cluster.session())
    assert cluster.image in cluster.must("deploy-status")


def test_the_image_has_what_it_needs_and_nothing_else(cluster: Cluster) -> None:
    """No root, no secret, a list of all that is in it; another machine builds the same layers.

    Nodes reach nothing but each other, so no build has asked an index of packages.
    """
    first, second = cluster.swarm.nodes.values()
    (image,) = json.loads(first.docker("image", "inspect", cluster.image))
    assert image["Config"]["User"] == "10001:10001"
    labels = image["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == cluster.git("rev-parse", "HEAD")
    assert labels["org.opencontainers.image.version"] == cluster.release

    (running,) = json.loads(first.docker("inspect", cluster.containers(first)[0]))
    assert running["HostConfig"]["ReadonlyRootfs"]
    assert running["HostConfig"]["CapDrop"] == ["ALL"]

    private = cluster.project.folder / "deploy" / "secrets"
    kept = [line for file in private.iterdir() for line in file.read_text().split()]
    assert len(kept) >= 3
    search = ["grep", "--count", "--text", "--fixed-strings", "\n".join(kept)]
    save = ["docker", "--host", first.socket, "save", cluster.image]
    with subprocess.Popen(save, stdout=subprocess.PIPE) as saved:
        found = subprocess.run(search, stdin=saved.stdout, check=False, capture_output=True)
    assert found.stdout.split() == [b"0"]

    listed = json.loads(cluster.within("cat", f"/srv/{cluster.project.slug}/app/sbom.cdx.json"))
    assert listed["bomFormat"] == "CycloneDX"
    parts = [listed["metadata"]["component"], *listed["components"]]
    named = {(part["name"], part["version"]) for part in parts}
    installed = {
        tuple(line.split()) for line in cluster.within("python", "-c", INSTALLED).splitlines()
    }
    assert "tornado" in dict(installed)
    assert installed <= named
    debian = {tuple(line.split()) for line in cluster.within(*DEBIAN).splitlines()}
    assert debian <= named

    shutil.rmtree(cluster.project.folder / "dist")
    cluster.must("image", DOCKER_HOST=second.socket)
    (again,) = json.loads(second.docker("image", "inspect", cluster.image))
    assert again["RootFS"]["Layers"] == image["RootFS"]["Layers"]


@pytest.mark.parametrize("balancer", BALANCERS)
def test_an_upgrade_and_a_rollback_lose_nothing(cluster: Cluster, balancer: str) -> None:
    """While requests come in, a new release takes over, and the one before takes over again.

    Pages of the release before keep their static files. Browsers with a WebSocket come back.
    """
    before = cluster.image
    style = cluster.project.package / "static" / "style.css"
    with cluster.behind(balancer), next_commit(cluster, style, STYLE):
        cluster.build()
        cookies = cluster.session()
        with (
            cluster.nothing_lost() as load,
            Crowd(URL, cookies, BROWSERS, address=cluster.swarm.manager.address) as crowd,
        ):
            cluster.swarm.wait_until(lambda: crowd.connected == BROWSERS, "all are there")
            old, new = cluster.ask_for_files_during("deploy")
            assert style_of(old) != style_of(new)
            assert cluster.serves(cluster.image)
            # A rollback is to the image before, whatever has changed since.
            label = ("--detach", "--label-add", "changed=since")
            cluster.swarm.manager.docker("service", "update", *label, cluster.service)
            cluster.must("rollback")
            assert cluster.serves(before)
            while load.total < REQUESTS:
                cluster.must("deploy")
                cluster.must("rollback")
            cluster.swarm.wait_until(lambda: crowd.connected == BROWSERS, "all are back")
        assert crowd.endings.keys() == {SERVICE_RESTART}


@pytest.mark.parametrize("how", ["crashes", "never-ready", "migration"])
def test_a_broken_release_is_taken_back(how: str, cluster: Cluster) -> None:
    """The engine returns to the release before, no request is lost, and the reason is shown.

    The lines of processes that serve would hide it, and are not shown.
    """
    package = cluster.project.package
    migrations = package / "migrations" / "versions"
    newest = sorted(migrations.glob("0*.py"))[-1].name[:4]
    file, text, shown = {
        "crashes": (package / "app.py", ENDS_AT_ITS_START, "in open_app"),
        "never-ready": (package / "runtime" / "health.py", NEVER_READY, f"Not ready: {REASON}"),
        "migration": (migrations / "9999_broken.py", MIGRATION % newest, "9999_broken.py"),
    }[how]
    good = cluster.image
    with next_commit(cluster, file, text):
        cluster.build()
        with cluster.nothing_lost():
            said = cluster.must_fail("deploy")
    assert REASON in said
    assert shown in said
    assert '"/logout"' not in said
    assert cluster.serves(good)


def test_a_broken_balancer_is_taken_back(cluster: Cluster) -> None:
    """A node on which it does not start gets the former one again, and the reason is shown."""
    session = cluster.session()
    site = cluster.project.folder / "deploy" / "nginx" / "site.conf"
    good = site.read_text()
    site.write_text(f'{good}\n"{REASON}";\n')
    try:
        said = cluster.must_fail("deploy")
    finally:
        site.write_text(good)
    assert REASON in said
    cluster.swarm.wait_until(lambda: cluster.knows(session), "each node has the former one")


def test_more_and_fewer_processes_lose_nothing(cluster: Cluster) -> None:
    """Those that come are used, and those that go end what they have begun."""
    scale = cluster.swarm.manager.docker
    with cluster.nothing_lost() as load:
        while True:
            scale("service", "scale", f"{cluster.service}={3 * REPLICAS}")
            assert cluster.serves(cluster.image, 3 * REPLICAS)
            cluster.swarm.wait_until(cluster.all_are_asked, "each of them is asked")
            scale("service", "scale", f"{cluster.service}={REPLICAS}")
            cluster.wait_until_it_serves(cluster.image)
            if load.total >= REQUESTS:
                break


def test_a_new_secret_keeps_all_sessions(cluster: Cluster) -> None:
    """Each step of its rotation reaches all processes, and all know the cookies of before."""
    file = cluster.project.folder / "deploy" / "secrets" / "cookie_secret"
    rotate = [cluster.project.program("my-service"), "secret", "rotate", "--file", file]
    session = cluster.session()
    first = file.read_text()
    with cluster.nothing_lost():
        for _ in range(2):
            cluster.project.must(*rotate)
            cluster.must("deploy")
            assert cluster.serves(cluster.image)
            assert cluster.knows(session)
            assert cluster.knows(cluster.session())
    assert file.read_text() != first


def test_a_node_without_power_is_missed_for_seconds(cluster: Cluster) -> None:
    """What was in flight on it is lost; all else is served, sessions go on, and it may return.

    The next deploy then gives it its share of the processes.
    """
    session = cluster.session()
    worker, scale = cluster.swarm.nodes["two"], cluster.swarm.manager.docker
    replicas = 2 * REPLICAS
    scale("service", "scale", f"{cluster.service}={replicas}")
    assert {task.split()[-1] for task in cluster.tasks()} == set(cluster.swarm.nodes)
    with cluster.load() as load:
        load.phase_of(1)
        worker.cut_power()
        load.phase_of(AWAY_SECONDS)
        lost = len(load.failures)
        load.phase_of(5)
    print(f"{load.total} requests", *load.failures, sep="\n")
    assert {failure.request for failure in load.failures} <= {"POST /logout"}
    assert len(load.failures) == lost <= CONNECTIONS
    with cluster.client() as client:
        assert client.get("/api/me", headers={"Cookie": session}).status_code == 200
    cluster.swarm.wait_until(
        lambda: [task.split()[1:] for task in cluster.tasks()] == [["Running", "one"]] * replicas,
        "as many processes as before run on the other node",
    )
    scale("service", "scale", f"{cluster.service}={REPLICAS}")
    worker.power_on()
    cluster.swarm.wait_until(lambda: cluster.swarm.states()["two"] == "Ready", "it is there again")
    cluster.swarm.wait_until(lambda: cluster.knows(session), "its balancer serves again")
    with cluster.nothing_lost():
        cluster.must("deploy")
    assert cluster.serves(cluster.image)
    assert {task.split()[-1] for task in cluster.tasks()} == set(cluster.swarm.nodes)
