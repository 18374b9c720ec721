"""Several servers behind a balancer, with PostgreSQL on one more: deployed to, broken, extended.

The balancer has its certificate from Let's Encrypt; each server has nginx and supervisord.

All tests share them. Each leaves all of them serving the last commit that was good.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.servers.attacker import attack
from tests.servers.authority import Authority
from tests.servers.deploys import Owner
from tests.servers.servers import Server, Site

pytestmark = pytest.mark.servers

REASON = "broken on purpose"
# On one server only, and not on the trial's port: nothing finds it before that server's turn.
CRASHES_ON = """
import socket
import sys
if socket.gethostname() == "%s" and "%d" in sys.argv:
    raise RuntimeError("broken on purpose")
"""
# Those that were sent to a server whose power was cut: nobody knows whether they were done, so they
# must not be sent to another one. It is a matter of seconds until nothing is sent there any more.
LOST_POSTS = 40


class Fleet(Owner):
    """Who has application servers, a balancer before them and a database behind them."""

    def __init__(self, folder: Path, site: Site, stack: ExitStack, authority: Authority) -> None:
        self.balancer, self.database, *self.workers = (
            stack.enter_context(site.server(name))
            for name in ("balancer", "database", "web-1", "web-2")
        )
        super().__init__(folder, self.workers[0], authority=authority, database="postgresql")

    @property
    def front(self) -> Server:
        return self.balancer

    def inventory(self) -> dict[str, object]:
        proxies = [self.balancer.address]
        return {
            "workers": self.group(*self.workers, certificate="none", proxies=proxies),
            "balancers": self.group(self.balancer, **self.certified),
            "databases": self.group(self.database),
        }

    @contextmanager
    def without(self, server: Server) -> Iterator[None]:
        """The inventory lacks this server."""
        workers = self.workers
        self.workers = [other for other in workers if other is not server]
        self.write_inventory()
        try:
            yield
        finally:
            self.workers = workers
            self.write_inventory()

    def all_serve(self, release: str) -> bool:
        return all(self.serves(release, server) for server in self.workers)

    def processes(self, server: Server) -> list[str]:
        """The ids of the service's processes on a server."""
        found = server.run(f"pgrep --full '[-]m {self.project.package_name} '").split()
        assert len(found) == len(self.project.worker_ports)
        return found

    def states(self) -> dict[str, str]:
        """What the balancer takes each server for."""
        ask = "echo show stat | socat - /run/haproxy/admin.sock"
        rows = [line.split(",") for line in self.balancer.run(ask).splitlines()]
        return {row[1]: row[17] for row in rows if row[0] == "servers" and row[1] != "BACKEND"}

    def wait_until_all_are_up(self) -> None:
        names = {server.name for server in self.workers}
        self.balancer.wait_until(
            lambda: {name for name, state in self.states().items() if state == "UP"} == names,
            "the balancer takes all servers for healthy",
        )

    def upgrade(self) -> str:
        """Commit something and deploy it; return the release's name."""
        release = self.commit("The next")
        self.must("deploy")
        assert self.all_serve(release)
        return release


@pytest.fixture(scope="module")
def fleet(site: Site) -> Iterator[Fleet]:
    """A fleet to which the first release is deployed."""
    with (
        tempfile.TemporaryDirectory(prefix="fleet-") as folder,
        Authority(site) as authority,
        ExitStack() as stack,
    ):
        fleet = Fleet(Path(folder), site, stack, authority)
        fleet.must("deploy")
        yield fleet


def stays_signed_in(client: httpx.Client, times: int = 6) -> bool:
    """Whether whichever process is asked knows who this is."""
    return {client.get("/api/me").status_code for _ in range(times)} == {200}


def test_bare_servers_become_a_site(fleet: Fleet) -> None:
    """One command: https at the balancer, each server in turn, sessions that all of them know."""
    assert fleet.all_serve(fleet.release)
    assert fleet.states() == {"web-1": "UP", "web-2": "UP"}
    with fleet.sign_in() as client:
        assert stays_signed_in(client)
    said = fleet.must("deploy-status")
    for server in fleet.workers:
        for port in fleet.project.worker_ports:
            status = (
                rf"{server.name} [\s\S]*my-service-{port}: release {fleet.release}, up \d+ s, ready"
            )
            assert re.search(status, said), said


def test_a_renewed_certificate_is_served(fleet: Fleet) -> None:
    """The balancer has it from Let's Encrypt, whose part its own test server plays."""
    fleet.renew_certificate()


def test_secrets_are_everywhere_the_same_and_nowhere_shown(fleet: Fleet) -> None:
    """The password of the database was made, is with its owners alone, and lets nobody else in."""
    url = re.search(r"^DATABASE_URL=(\S+)$", fleet.settings.read_text(), re.MULTILINE)[1]
    password = re.search(r":([^:@]{32})@", url)[1]
    sums = {server.run("sha256sum /srv/my-service/shared/.env") for server in fleet.workers}
    assert len(sums) == 1
    for server in (*fleet.workers, fleet.balancer, fleet.database):
        assert (
            server.run(f"grep -rls {password} /var/log /srv/my-service/deploys.log || true") == ""
        )
    plain = url.replace("postgresql+psycopg", "postgresql").replace("require", "disable")
    web = fleet.workers[0]
    assert "no encryption" in web.try_run(f"psql {plain} -c 'SELECT 1'").stdout
    secure = plain.replace("disable", "require")
    assert "no pg_hba.conf entry" in fleet.database.try_run(f"psql {secure} -c 'SELECT 1'").stdout


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    """A deploy of what is deployed leaves everything as it is, on each server.

    So it does where the service's user has put links to root's files in the place of its own.
    """
    with attack(fleet.workers[0]), attack(fleet.workers[1]):
        said = fleet.must("deploy")
    assert set(re.findall(r"changed=(\d+)", said)) == {"0"}


@pytest.mark.parametrize("turn", [0, 1], ids=["the canary", "the second"])
def test_a_failure_on_one_server_is_taken_back_on_all(turn: int, fleet: Fleet) -> None:
    """What serves stays the same everywhere, nothing is lost; what failed where and why is told.

    Servers whose turn has not come keep the processes that they have.
    """
    good = fleet.release
    server, *untouched = fleet.workers[turn:]
    processes = [fleet.processes(other) for other in untouched]
    with (fleet.project.package / "__init__.py").open("a") as source:
        source.write(CRASHES_ON % (server.name, fleet.project.worker_ports[1]))
    release = fleet.commit("Broken")
    with fleet.nothing_lost():
        said = fleet.must_fail("deploy")
    fleet.git("reset", "--quiet", "--hard", "HEAD~1")
    assert f'{release} failed on {server.name} at "Restart the processes' in said
    assert f"Rolled back: {good} serves, as before." in said
    assert REASON in said
    assert fleet.all_serve(good)
    assert [fleet.processes(other) for other in untouched] == processes
    fleet.wait_until_all_are_up()
    for other in (*fleet.workers, fleet.balancer, fleet.database):
        assert f"failed {release} by" in other.run("tail -n 1 /srv/my-service/deploys.log")
        assert other.try_run("test -e /srv/my-service/deploy.lock").returncode == 1


def test_a_server_that_dies_is_not_missed(fleet: Fleet) -> None:
    """The others go on, sessions too; a deploy says who is away, and touches nothing."""
    good = fleet.release
    dead = fleet.workers[1]
    with fleet.sign_in() as client:
        with fleet.load() as load:
            load.phase_of(1)
            dead.cut_power()
            fleet.balancer.wait_until(lambda: fleet.states()[dead.name] == "DOWN", "it is missed")
            load.phase_of(1)
            noticed = len(load.failures)
            load.phase_of(5)
        print(f"{load.total} requests, {len(load.failures)} failed: {load.failures}")
        assert {failure.request for failure in load.failures} <= {"POST /logout"}
        assert len(load.failures) <= LOST_POSTS
        assert len(load.failures) == noticed
        assert stays_signed_in(client)

        fleet.commit("The next")
        said = fleet.must_fail("deploy")
        fleet.git("reset", "--quiet", "--hard", "HEAD~1")
        assert "web-2 cannot be reached, so nothing has changed." in " ".join(said.split())
        assert "changed=1" not in said
        assert fleet.serves(good)

        dead.power_on()
        fleet.wait_until_all_are_up()
        assert fleet.all_serve(good)
        assert stays_signed_in(client)


def test_releases_secrets_and_servers_change_unnoticed(fleet: Fleet) -> None:
    """An upgrade, a new secret, a server that goes and comes: nothing is lost, nobody signed out.

    A step of the secret reaches all servers before the next; one that comes too early is refused.
    """
    rotate = [fleet.project.program("my-service"), "secret", "rotate", "--file", fleet.settings]
    with fleet.sign_in() as client:
        fleet.project.must(*rotate)
        first_step = fleet.settings.read_bytes()
        fleet.project.must(*rotate)
        assert "would end all sessions" in " ".join(fleet.must_fail("deploy").split())
        fleet.settings.write_bytes(first_step)
        with fleet.nothing_lost():
            release = fleet.upgrade()
        for server in (*fleet.workers, fleet.balancer, fleet.database):
            log = server.run("cat /srv/my-service/deploys.log").splitlines()
            assert re.search(rf"Z deploy {release} by root@", log[-1])
        assert stays_signed_in(client)

        with fleet.nothing_lost(reloaded=True), fleet.without(fleet.workers[1]):
            fleet.project.must(*rotate)
            fleet.must("deploy")
            assert fleet.states() == {"web-1": "UP"}
        # Users who come by get a cookie with the new signature; the others are signed out now.
        assert stays_signed_in(client)
        with fleet.nothing_lost(reloaded=True):
            fleet.project.must(*rotate, "--drop-now")
            fleet.must("deploy")
            assert fleet.states() == {"web-1": "UP", "web-2": "UP"}
        assert stays_signed_in(client)
    assert fleet.all_serve(release)
