"""`make deploy` and `make rollback`: from a bare server to a site, and on from there.

All tests share one server. Each leaves it serving the last commit that was good. Its certificate is
from Let's Encrypt, which is played by its own test server; for HAProxy see test_other_choices.py.
"""

import os
import re
import signal

import pytest

from tests.deployed import without_ipv6
from tests.running.assets import style_of
from tests.servers.attacker import attack
from tests.servers.broken import MIGRATION, REASON, next_commit
from tests.servers.deploys import Owner

pytestmark = pytest.mark.servers

CRASHES_LATER = f"""
import sys
if "%d" in sys.argv:
    raise RuntimeError("{REASON}")
"""
# supervisord as deployed, but with a program that tells its limits and ends it.
LIMITS = r"""
install -d -o my-service /tmp/limits
sed 's,/srv/my-service/current/var,/tmp/limits,; /^files=/d; s/^.include.$/[program:tell]/' \
    /srv/my-service/current/deploy/supervisor/supervisord.conf > /tmp/limits/supervisord.conf
mkdir -p /tmp/limits/log && chown my-service /tmp/limits/log
cat >> /tmp/limits/supervisord.conf <<'END'
command=sh -c 'echo $(ulimit -Sn) $(ulimit -Hn) >> told; kill $PPID'
startsecs=0
autorestart=false
END
"""
RUN_LIMITS = (
    "systemd-run --quiet --pipe --wait --uid my-service --working-directory /tmp/limits"
    " --property LimitNOFILE=%s supervisord --nodaemon --configuration supervisord.conf"
)
# As on a kernel without it: there is no such address family.
WITHOUT_IPV6 = (
    "systemd-run --quiet --pipe --wait"
    " --property 'RestrictAddressFamilies=AF_INET AF_UNIX AF_NETLINK'"
)
# No mirror answers, and what apt knows of them is days old.
NO_MIRROR = """
mv /etc/apt/sources.list /etc/apt/kept
echo 'deb http://mirror.invalid/debian stable main' > /etc/apt/sources.list
mkdir -p /var/lib/apt/periodic
touch -d '3 days ago' /var/lib/apt/periodic/update-success-stamp /var/lib/apt/lists
"""
TABLES = """cd /srv/my-service/shared/var && python3 -c '
import sqlite3
print(sqlite3.connect("my_service.sqlite3").execute("SELECT name FROM sqlite_master").fetchall())'
"""


def upgrade(owner: Owner) -> str:
    """Commit something, deploy it, and see that it serves; return the release's name."""
    release = owner.commit("The next")
    owner.must("deploy")
    assert owner.serves(release)
    return release


def test_a_bare_server_becomes_a_site(deployed: Owner) -> None:
    """One command brings a page to sign in on, over https, and a server that comes back."""
    release = deployed.release
    with deployed.sign_in() as client:
        assert client.get("/api/me").status_code == 200
        assert deployed.serves(release)
        deployed.server.reboot()
        deployed.server.wait_until(lambda: deployed.serves(release), "all are back")
        assert client.get("/api/me").status_code == 200
    status = deployed.must("deploy-status")
    for port in deployed.project.worker_ports:
        assert f"my-service-{port}: release {release}, up " in status


def test_its_certificate_is_renewed(deployed: Owner) -> None:
    """The first deploy brings one that browsers trust; a renewed one is served at once."""
    deployed.renew_certificate()


def test_a_second_run_changes_nothing(deployed: Owner) -> None:
    """A deploy of what is deployed leaves everything as it is, a renewed certificate too.

    So it does where the service's user has put links to root's files in the place of its own, and
    where no mirror of packages answers: none is missing.
    """
    server, certificate = deployed.server, deployed.certificate()
    server.run(NO_MIRROR)
    with attack(server):
        said = deployed.must("deploy")
    server.run("mv /etc/apt/kept /etc/apt/sources.list")
    assert set(re.findall(r"changed=(\d+)", said)) == {"0"}
    assert deployed.certificate() == certificate


def test_every_way_to_raise_the_limit_of_files_works(deployed: Owner) -> None:
    """LimitNOFILE raises both limits, minfds the soft one up to it, limits.conf those of logins."""
    server = deployed.server
    # A container's root cannot go above what the container has.
    most = min(50_000, int(server.run("bash -c 'ulimit -Hn'")))
    pid = server.run("pgrep --oldest --full '[-]m my_service '")
    assert server.run(f"awk '/^Max open files/ {{ print $4, $5 }}' /proc/{pid}/limits") == (
        f"{most} {most}"
    )

    server.run(LIMITS)
    server.run(RUN_LIMITS % "1024:15000")
    assert server.run("cat /tmp/limits/told") == "4096 15000"
    too_few = server.try_run(RUN_LIMITS % "1024:3000")
    assert too_few.returncode != 0
    assert 'as per the "minfds"' in " ".join(too_few.stdout.split())

    file = "/etc/security/limits.conf"
    server.run(f"printf 'admin soft nofile 1234\\nadmin hard nofile 12345\\n' >> {file}")
    said = server.ssh("ulimit -Sn; ulimit -n 12345; ulimit -Sn; ulimit -Hn")
    server.run(f"sed -i '/^admin /d' {file}")
    assert said.stdout.split() == ["1234", "12345", "12345"]


def test_nginx_starts_where_the_kernel_has_no_ipv6(deployed: Owner) -> None:
    """What a deploy takes out of the files there is all that keeps nginx from starting."""
    server = deployed.server
    server.run("rm -rf /srv/files && cp -rL /etc/nginx /srv/files")
    start = f"{WITHOUT_IPV6} nginx -t -c /srv/files/nginx.conf"
    assert "Address family not supported" in server.try_run(start).stdout
    _, taken_out = without_ipv6(deployed.project.folder)
    for name in ("nginx.conf", "sites-enabled/my-service.conf"):
        text = server.run(f"cat /srv/files/{name}")
        server.run(f"cat > /srv/files/{name}", typed=taken_out.sub("", f"{text}\n"))
    server.run(start)
    server.run("rm -r /srv/files")


def test_what_is_not_committed_is_refused(deployed: Owner) -> None:
    """A release comes from a commit; what is in none is named."""
    stray = deployed.project.folder / "stray"
    stray.touch()
    said = deployed.must_fail("deploy")
    stray.unlink()
    assert "A release is built from a commit" in said
    assert "?? stray" in said


def test_an_upgrade_and_a_rollback_lose_nothing(deployed: Owner) -> None:
    """While requests come in, a new release takes over, and the one before takes over again.

    Pages of both have their own static files all the time, which browsers may keep. Another machine
    deploys, which takes the settings that the server has.
    """
    before = deployed.release
    release = deployed.commit_another_style()
    settings = deployed.settings.read_bytes()
    deployed.settings.unlink()
    with deployed.nothing_lost():
        old, new = deployed.ask_for_files_during("deploy")
    assert deployed.serves(release)
    log = deployed.server.run("tail -n 1 /srv/my-service/deploys.log")
    assert re.search(rf"Z deploy {release} by root@", log)
    assert deployed.settings.read_bytes() == settings
    assert style_of(old) != style_of(new)
    with deployed.nothing_lost():
        assert deployed.ask_for_files_during("rollback") == (new, old)
    assert deployed.serves(before)
    deployed.git("reset", "--quiet", "--hard", "HEAD~1")


def test_its_secrets_stay_secret(deployed: Owner) -> None:
    """The secret is made once, is read by its owners alone, is in no commit and not printed."""
    assert deployed.settings.stat().st_mode & 0o777 == 0o600
    secret = re.search(r"COOKIE_SECRET=\d+:(\S{64})", deployed.settings.read_text())[1]
    env = deployed.server.run("stat -c '%a %U' /srv/my-service/shared/.env")
    assert env == "600 my-service"
    assert deployed.printed
    assert secret not in "".join(deployed.printed)
    assert (
        deployed.server.try_run(f"grep -r {secret} /var/log /srv/my-service/deploys.log").stdout
        == ""
    )


@pytest.mark.parametrize("how", ["migration", "crashes-later"])
def test_a_broken_release_is_taken_back(how: str, deployed: Owner) -> None:
    """A broken release is taken back: the one before serves on, and no request is lost.

    The reason is shown.

    The server's log of deploys has it, and no lock is left.
    One that the trial finds out is in test_two_services.py, and for the trial itself in
    tests/running/test_lossless_roll.py.
    """
    package = deployed.project.package
    migrations = package / "migrations" / "versions"
    newest = sorted(migrations.glob("0*.py"))[-1].name[:4]
    file, text = {
        "migration": (migrations / "9999_broken.py", MIGRATION % newest),
        "crashes-later": (
            package / "__init__.py",
            CRASHES_LATER % deployed.project.worker_ports[1],
        ),
    }[how]
    good = deployed.release
    with next_commit(deployed, file, text) as release, deployed.nothing_lost():
        said = deployed.must_fail("deploy")
    assert f"{release} failed on server at " in said
    assert f"Rolled back: {good} serves, as before." in said
    assert REASON in said
    log = deployed.server.run("tail -n 1 /srv/my-service/deploys.log")
    assert re.search(rf"Z failed {release} by root@", log)
    assert deployed.server.try_run("test -e /srv/my-service/deploy.lock").returncode == 1
    assert deployed.serves(good)
    names = deployed.server.run(TABLES)
    assert "alembic_version" in names
    assert "halfway" not in names


def test_only_one_deploys_at_a_time(deployed: Owner) -> None:
    """The second shows who deploys what since when, and touches nothing."""
    first = deployed.deploy_until("Prepare the server")
    # It holds the lock for as long as the second takes to find that out.
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        said = deployed.must_fail("deploy")
        assert first.poll() is None
    finally:
        # The next deploy finds its lock, and that its process has ended.
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    assert re.search(rf"root@\S+ deploys {deployed.release} to\s+server since 20", said)
    assert "make deploy-unlock" in said


def test_an_interrupted_deploy_is_completed_by_the_next(deployed: Owner) -> None:
    """Its process is killed in the middle of something: the service goes on, the next one works.

    Each gets past the place where the one before was killed.
    """
    release = deployed.commit("The next")
    with deployed.nothing_lost():
        for stage in (
            "Upload it",
            "Start it beside the running one, on a spare port, and stop it",
            "Restart the processes one after another",
        ):
            killed = deployed.deploy_until(stage)
            os.killpg(killed.pid, signal.SIGKILL)
            killed.communicate()
        deployed.must("deploy")
    assert deployed.serves(release)
