"""Two services of two owners on one server: they share its nginx, and nothing else.

The second has its data in PostgreSQL on a server of its own. Each test leaves both serving the last
commit that was good.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.servers.attacker import attack
from tests.servers.broken import CRASHES, REASON
from tests.servers.deploys import Owner
from tests.servers.servers import Server, Site

pytestmark = pytest.mark.servers


class DatabaseElsewhere(Owner):
    """An owner with PostgreSQL on another server."""

    def __init__(self, folder: Path, server: Server, database: Server, **answers: str) -> None:
        self.database = database
        super().__init__(folder, server, database="postgresql", **answers)

    def inventory(self) -> dict[str, object]:
        return super().inventory() | {"databases": self.group(self.database)}


@pytest.fixture(scope="module")
def owners(site: Site) -> Iterator[tuple[Owner, DatabaseElsewhere]]:
    """The owners of both, whose services are deployed, the second while the first has load."""
    with (
        tempfile.TemporaryDirectory(prefix="owners-") as folder,
        site.server("shared") as server,
        site.server("database") as database,
    ):
        for name in ("one", "two"):
            Path(folder, name).mkdir()
        first = Owner(
            Path(folder, "one"),
            server,
            domain="one.test",
            project_slug="shop",
            first_port="8000",
        )
        # A name that begins with the other one's, and the other way to keep processes running.
        second = DatabaseElsewhere(
            Path(folder, "two"),
            server,
            database,
            domain="two.test",
            project_slug="shop-login",
            first_port="8100",
            process_manager="systemd",
        )
        first.must("deploy")
        with first.nothing_lost(reloaded=True):
            second.must("deploy")
        yield first, second


@pytest.fixture
def first(owners: tuple[Owner, DatabaseElsewhere]) -> Owner:
    return owners[0]


@pytest.fixture
def second(owners: tuple[Owner, DatabaseElsewhere]) -> DatabaseElsewhere:
    return owners[1]


def change(owner: Owner, file: Path, text: str) -> str:
    """Commit that this is added to a file of the project; return the release's name."""
    with (owner.project.folder / file).open("a") as source:
        source.write(text)
    return owner.commit("The next")


def undo(owner: Owner) -> None:
    """Take the last commit back."""
    owner.git("reset", "--quiet", "--hard", "HEAD~1")


def test_both_serve_under_their_names(first: Owner, second: Owner) -> None:
    """Each is reached by its name, with its certificate, and serves its own release."""
    for owner in (first, second):
        assert owner.serves(owner.release)
        with owner.client() as client:
            assert client.get("/readyz").json() == {"status": "ready"}


def test_their_visitors_are_kept_apart(first: Owner, second: Owner) -> None:
    """A session of one is none of the other, whose cookies have other names."""
    with first.sign_in() as one, second.sign_in() as two:
        assert not {*one.cookies} & {*two.cookies}
        for client, owner in ((one, second), (two, first)):
            with owner.client(cookies=dict(client.cookies)) as stranger:
                assert client.get("/api/me").status_code == 200
                assert stranger.get("/api/me").status_code == 401


def test_a_second_run_changes_nothing(first: Owner, second: Owner) -> None:
    """The one that was there first has all that it had: the other has taken nothing away."""
    assert second.serves(second.release)
    assert " changed=0 " in first.must("deploy", VERBOSE="yes")


def test_the_password_of_the_database_is_for_its_owners_alone(second: DatabaseElsewhere) -> None:
    """It was made, is shown nowhere, and lets in the service alone, from its server, over TLS."""
    url = re.search(r"^DATABASE_URL=(\S+)$", second.settings.read_text(), re.MULTILINE)[1]
    password = re.search(r":([^:@]{32})@", url)[1]
    assert password not in "".join(second.printed)
    for server in (second.server, second.database):
        assert server.run(f"grep -rls {password} /var/log /srv/*/deploys.log || true") == ""
    plain = url.replace("postgresql+psycopg", "postgresql").replace("require", "disable")
    assert "no encryption" in second.server.try_run(f"psql {plain} -c 'SELECT 1'").stdout
    secure = plain.replace("disable", "require")
    assert second.server.run(f"psql {secure} --tuples-only -c 'SELECT 1'") == "1"
    assert "no pg_hba.conf entry" in second.database.try_run(f"psql {secure} -c 'SELECT 1'").stdout


def test_a_new_secret_keeps_all_sessions(second: DatabaseElsewhere) -> None:
    """Each step of the secret is deployed before the next; one that comes too early is refused.

    With nothing to do a deploy changes nothing, on the database's server either.
    """
    rotate = [second.project.program("shop-login"), "secret", "rotate", "--file", second.settings]
    with second.sign_in() as client:
        second.project.must(*rotate)
        first_step = second.settings.read_bytes()
        second.project.must(*rotate)
        assert "would end all sessions" in " ".join(second.must_fail("deploy").split())
        second.settings.write_bytes(first_step)
        # The load keeps the cookie that it has in the beginning, which is good for one more step.
        for step in ([], ["--drop-now"]):
            with second.nothing_lost():
                second.must("deploy")
            assert client.get("/api/me").status_code == 200
            second.project.must(*rotate, *step)
        with second.nothing_lost():
            second.must("deploy")
        assert client.get("/api/me").status_code == 200
    assert " changed=0 " in second.must("deploy", VERBOSE="yes")


def test_an_absent_server_is_named(second: DatabaseElsewhere) -> None:
    """A deploy says that the database's server does not answer, and touches nothing."""
    second.database.cut_power()
    said = " ".join(second.must_fail("deploy").split())
    second.database.power_on()
    assert f"{second.server.name} -> {second.database.name}" in said
    assert "is unreachable" in said
    assert "Build the release" not in said
    second.server.wait_until(lambda: second.serves(second.release), "it serves as before")


def test_one_does_not_notice_what_the_other_does(first: Owner, second: Owner) -> None:
    """It loses nothing while the other is upgraded, rolled back, and its broken release fails.

    Nor does the other one then: the trial finds the crash and shows the reason. Where the
    other is taken over, and waits for the upgrade with links to root's files, these stay.
    """
    before = second.release
    with first.nothing_lost():
        release = second.commit("The next")
        with attack(second.server, second.project.slug):
            second.must("deploy")
        assert second.serves(release)
        second.must("rollback")
        assert second.serves(before)
        undo(second)
        broken = change(second, Path(second.project.package, "__init__.py"), CRASHES)
        with second.nothing_lost():
            said = second.must_fail("deploy")
        assert f"{broken} failed." in said
        assert f"Taken back: {before} serves, as before." in said
        assert REASON in said
        undo(second)
    assert second.serves(before)
    assert first.serves(first.release)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense;\n", 'unknown directive "nonsense"'),
        ("server {\n    listen 80;\n    server_name one.test;\n}\n", "conflicting server name"),
    ],
    ids=["nonsense", "same domain"],
)
def test_what_nginx_refuses_disturbs_no_other_site(
    text: str, reason: str, first: Owner, second: Owner
) -> None:
    """A release is refused before its files reach nginx, which both can go on reloading."""
    good = second.release
    change(second, Path("deploy/nginx/https.conf"), text)
    said = second.must_fail("deploy")
    undo(second)
    assert reason in said
    assert second.serves(good)
    with first.nothing_lost(reloaded=True), second.nothing_lost(reloaded=True):
        second.server.run("nginx -t && systemctl reload nginx")


def test_ports_of_others_are_refused(second: Owner) -> None:
    """A program that listens where the service would is named before anything is done."""
    port = second.project.first_port + 79
    second.server.run(f"systemd-run --unit other python3 -m http.server --bind 127.0.0.1 {port}")
    second.server.wait_until(
        lambda: second.server.run(f"ss -Hltn sport = :{port}"), "the other program listens"
    )
    said = " ".join(second.must_fail("deploy").split())
    second.server.run("systemctl stop other")
    assert f"and {port} must be free for shop-login" in said
    assert f"127.0.0.1:{port}" in said
    assert second.serves(second.release)


def test_an_unnamed_proxy_is_refused(second: Owner) -> None:
    """A TLS proxy in front without its address is refused, with the line to write."""
    file = second.folder / "inventory.yml"
    kept = file.read_text()
    inventory = yaml.safe_load(kept)
    inventory["workers"]["vars"]["certificate"] = "none"
    file.write_text(yaml.safe_dump(inventory))
    # Long lines are broken somewhere.
    said = " ".join(second.must_fail("deploy").split())
    file.write_text(kept)
    assert "inventory.yml says `certificate: none` for shared" in said
    assert "proxies: [192.0.2.1]" in said
    assert "Build the release" not in said
