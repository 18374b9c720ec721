"""A service under systemd, on a server set up as its deploy/README.md says; `roll` under load."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bake import bake
from tests.environment import environment, uv
from tests.running.load import nothing_lost, usual_requests
from tests.running.processes import answers, wait_until
from tests.servers.servers import Server, Site

pytestmark = pytest.mark.servers

HOME = "/srv/my-service"
PORTS = range(8000, 8004)
UNITS = {port: f"my-service@{port}.service" for port in PORTS}
DATABASE = f"{HOME}/shared/var/my_service.sqlite3"
READY_SECONDS = 60
BACK_SECONDS = 5
# The watchdog's time in its test: just more than a beat of the event loop.
WATCHDOG_SECONDS = 11
REASON = "broken on purpose"

# Prints with which status each of these ports answers /readyz, if it does.
ASK = """
import http.client, sys
for port in sys.argv[1:]:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/readyz")
        print(port, connection.getresponse().status)
    except OSError:
        pass
"""


class Service:
    """my-service on a server: nginx, and four processes under systemd."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.url = f"http://{server.address}"
        # A server without a name is known by its address.
        self.project = bake(folder, process_manager="systemd", domain_name=server.address)

    def install(self) -> None:
        """Do what deploy/README.md says; the certificate is left to a TLS proxy."""
        run = self.server.run
        run(
            "apt-get update && apt-get install -qq --no-install-recommends nginx-light python3-venv"
        )
        run(f"adduser --system --group --no-create-home --home {HOME} my-service")
        run(f"install -d {HOME}/releases {HOME}/shared")
        run(f"install -d -o my-service -g my-service -m 0750 {HOME}/shared/var")
        release = f"{HOME}/releases/one"
        self._upload(release)
        secret = f'"COOKIE_SECRET=$({release}/.venv/bin/my-service secret new)"'
        run(f"install -o my-service -g my-service -m 0600 /dev/null {HOME}/shared/.env")
        run(f"echo {secret} > {HOME}/shared/.env")
        run(f"cd {release} && runuser -u my-service -- .venv/bin/my-service migrate")
        self.switch("one")
        run(f"ln -sf {HOME}/current/deploy/systemd/* /etc/systemd/system/")
        run("systemctl daemon-reload && systemctl enable --now my-service.target")
        files = f"{HOME}/current/deploy/nginx"
        run(f"cp {files}/nginx.conf {files}/defaults.conf /etc/nginx")
        run(f"ln -s {files}/behind-proxy.conf /etc/nginx/sites-enabled/my-service.conf")
        run(f"touch {HOME}/proxies.conf")
        run("nginx -t && systemctl restart nginx")
        self.wait_until_ready()

    def _upload(self, release: str) -> None:
        """Bring a release there, with its locked requirements for the server's own Python."""
        server, project = self.server, self.project
        packages = project.parent / "packages"
        python = environment(project) / "python"
        wheel = "-m pip --quiet wheel --no-deps --no-build-isolation --wheel-dir dist ."
        subprocess.run([python, *wheel.split()], cwd=project, check=True)
        version = server.run("python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'")
        lock = project / "requirements.txt"
        options = ("--python-version", version, "--require-hashes", "-r", lock)
        uv("pip", "install", "--target", packages, *options)
        (project / ".env").unlink()
        server.run(f"mkdir {release}")
        server.site.docker("cp", f"{project}/.", f"{server.name}:{release}")
        server.run(f"python3 -m venv {release}/.venv")
        site_packages = f"{release}/.venv/lib/python{version}/site-packages"
        server.site.docker("cp", f"{packages}/.", f"{server.name}:{site_packages}")
        server.run(f"chown -R root:root {release} && chmod -R go+rX {release}")
        server.run(f"{release}/.venv/bin/pip install --no-index --no-deps {release}/dist/*.whl")
        server.run(f"ln -s ../../shared/.env ../../shared/var {release}")

    def copy_release(self, name: str, addition: str) -> None:
        """Make a release of this name, with this line of Python in it."""
        self.server.run(f"cp -a {HOME}/releases/one {HOME}/releases/{name}")
        package = f"{HOME}/releases/{name}/.venv/lib/python3*/site-packages/my_service"
        self.server.run(f'for file in {package}/__init__.py; do echo "{addition}" >> $file; done')

    def switch(self, release: str) -> None:
        """Let `current` be this release."""
        self.server.run(f"ln -s {HOME}/releases/{release} {HOME}/next")
        self.server.run(f"mv -T {HOME}/next {HOME}/current")

    def roll(self) -> subprocess.CompletedProcess[str]:
        return self.server.try_run(f"{HOME}/current/deploy/roll")

    def must_roll(self) -> None:
        """Restart every process; all must come back."""
        done = self.roll()
        assert done.returncode == 0, f"{done.stdout}\n{self.server.evidence()}"
        assert done.stdout.count(", ready after") == len(PORTS), done.stdout

    def shown(self, port: int, name: str) -> str:
        """What systemd knows of a process by this name."""
        return self.server.run(f"systemctl show --value --property {name} {UNITS[port]}")

    def pids(self) -> dict[int, str]:
        return {port: self.shown(port, "MainPID") for port in PORTS}

    def states(self) -> dict[int, int]:
        """Each process that answers: 200 if it may get requests, 503 if not."""
        said = self.server.run(f"python3 -c '{ASK}' {' '.join(map(str, PORTS))}")
        return {int(port): int(status) for port, status in map(str.split, said.splitlines())}

    def wait_until(self, status: int) -> None:
        """Wait until each process answers so."""
        wait_until(
            lambda: self.states() == dict.fromkeys(PORTS, status),
            f"all processes answer {status}",
            seconds=READY_SECONDS,
            evidence=self.server.evidence,
        )

    def wait_until_ready(self) -> None:
        self.wait_until(200)
        assert answers(f"{self.url}/readyz"), self.server.evidence()

    def replaced_within(self, port: int, pid: str, seconds: float) -> None:
        """Wait until another process than this one serves on the port."""
        wait_until(
            lambda: (
                self.shown(port, "MainPID") not in ("0", pid) and self.states().get(port) == 200
            ),
            f"another process serves on {port}",
            seconds=seconds,
            evidence=self.server.evidence,
        )

    def journal(self, port: int) -> str:
        return self.server.run(f"journalctl --no-pager --output cat --unit {UNITS[port]}")


@pytest.fixture(scope="module")
def service(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on its server, which serves before and after each test of this module."""
    with site.server("web") as server:
        service = Service(server, tmp_path_factory.mktemp("systemd"))
        service.install()
        yield service


def load(service: Service) -> list[object]:
    """A page, and a form, which may not be sent twice."""
    return usual_requests("my-service-session=")[:2]


def test_a_process_is_locked_in(service: Service) -> None:
    """It can do nothing but serve, may open all its files, and writes to the journal."""
    service.server.run(f"systemd-analyze security --no-pager --threshold=15 {UNITS[8000]}")
    # A container's root may not raise the limit itself, so systemd's word is taken for it.
    assert service.shown(8000, "LimitNOFILE") == "50000"
    pid = service.pids()[8000]
    assert service.server.run(f"ps -o user= -p {pid}") == "my-service"
    lines = [line for line in service.journal(8000).splitlines() if line.startswith("{")]
    assert any(json.loads(line)["message"].startswith("Serving ") for line in lines)


def test_a_roll_loses_nothing(service: Service) -> None:
    """All processes are restarted twice, and every request is answered."""
    old = service.pids()
    with nothing_lost(service.url, load(service)):
        service.must_roll()
        service.must_roll()
    new = service.pids()
    assert all(new[port] != old[port] for port in PORTS)
    assert {service.shown(port, "Result") for port in PORTS} == {"success"}


def test_a_release_that_cannot_serve_touches_nothing(service: Service) -> None:
    """The trial before the roll finds it out; it runs as the service's user, not as root."""
    service.copy_release(
        "two", f"import os; raise RuntimeError('{REASON}', os.getgid(), os.getgroups())"
    )
    old = service.pids()
    with nothing_lost(service.url, load(service)):
        service.switch("two")
        done = service.roll()
        service.switch("one")
    assert done.returncode == 1
    group = service.server.run("id -g my-service")
    assert f"RuntimeError: ('{REASON}', {group}, [])" in done.stdout, done.stdout
    assert done.stdout.count("Not touched: ") == len(PORTS)
    assert service.pids() == old


def test_a_process_that_does_not_come_back_ends_the_roll(service: Service) -> None:
    """It is stopped and its journal shown, the others go on, and the next roll starts it."""
    crash = f"import sys; assert '8000' not in sys.argv, '{REASON}'"
    service.copy_release("three", crash)
    old = service.pids()
    with nothing_lost(service.url, load(service)):
        service.switch("three")
        done = service.roll()
        assert done.returncode == 1
        for text in ("failed: it ended", f"AssertionError: {REASON}", "It is stopped now"):
            assert text in done.stdout, done.stdout
        assert done.stdout.count("Not touched: ") == len(PORTS) - 1
        assert list(service.states()) == list(PORTS)[1:]
        assert {**service.pids(), 8000: "0"} == {**old, 8000: "0"}
        service.switch("one")
        service.must_roll()


def test_only_one_rolls(service: Service) -> None:
    """A second roll names the first; without root a roll asks for it."""
    hold = "exec 9<>/run/my-service-roll.lock; flock 9"
    said = service.server.try_run(f"{hold}; {HOME}/current/deploy/roll 9>&-")
    assert said.returncode == 1
    assert "Another roll is running" in said.stdout
    said = service.server.try_run(f"runuser -u my-service -- {HOME}/current/deploy/roll")
    assert said.returncode == 1
    assert "Run this as root" in said.stdout


def test_a_killed_process_is_back(service: Service) -> None:
    """One that is killed is replaced, and ready, within seconds."""
    pid = service.pids()[8001]
    begin = time.monotonic()
    service.server.run(f"kill -KILL {pid}")
    service.replaced_within(8001, pid, BACK_SECONDS)
    print(f"back after {time.monotonic() - begin:.1f} s")


def test_a_stuck_process_is_replaced(service: Service) -> None:
    """One whose event loop stands still is ended by the watchdog, and another takes its place."""
    override = f"/run/systemd/system/{UNITS[8002]}.d/quick.conf"
    text = f"[Service]\\nWatchdogSec={WATCHDOG_SECONDS}\\nTimeoutAbortSec=1\\n"
    service.server.run(f"install -D /dev/null {override} && printf '{text}' > {override}")
    service.server.run(f"systemctl daemon-reload && systemctl restart {UNITS[8002]}")
    service.wait_until_ready()
    pid = service.pids()[8002]
    service.server.run(f"kill -STOP {pid}")
    service.replaced_within(8002, pid, WATCHDOG_SECONDS + 1 + 2 * BACK_SECONDS)
    assert "Watchdog timeout" in service.journal(8002)
    service.server.run(f"rm -r /run/systemd/system/{UNITS[8002]}.d && systemctl daemon-reload")
    service.must_roll()


def test_what_the_watchdog_ends_says_where_it_was(service: Service) -> None:
    """The signal that the watchdog sends makes a process write its Python traceback first."""
    pid = service.pids()[8003]
    service.server.run(f"kill -ABRT {pid}")
    service.replaced_within(8003, pid, BACK_SECONDS)
    assert "Fatal Python error: Aborted" in service.journal(8003)


def test_it_comes_back_after_a_reboot_without_its_database(service: Service) -> None:
    """After a boot all are there by themselves, not ready; when the database is back they are."""
    service.server.run(f"mv {DATABASE} {DATABASE}.away && mkdir {DATABASE}")
    service.server.reboot()
    service.wait_until(503)
    assert {service.shown(port, "ActiveState") for port in PORTS} == {"active"}
    pids = service.pids()
    service.server.run(f"rmdir {DATABASE} && mv {DATABASE}.away {DATABASE}")
    service.wait_until_ready()
    assert service.pids() == pids
    assert {service.shown(port, "NRestarts") for port in PORTS} == {"0"}


def test_it_comes_back_after_its_power_was_cut(service: Service) -> None:
    """All serve again by themselves."""
    service.server.cut_power()
    service.server.power_on()
    service.wait_until_ready()
