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
        said = deployed.must("deploy", VERBOSE="yes")
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

    The server's log of deploys has it.
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
    assert f"{release} failed." in said
    assert f"Taken back: {good} serves, as before." in said
    assert REASON in said
    log = deployed.server.run("tail -n 1 /srv/my-service/deploys.log")
    assert re.search(rf"Z failed {release} by root@", log)
    assert deployed.serves(good)
    names = deployed.server.run(TABLES)
    assert "alembic_version" in names
    assert "halfway" not in names


def signal_run(owner: Owner, name: str, whom: str = "all") -> None:
    """Send this signal to the release program that runs on the server, and to what it runs."""
    owner.server.run(f"systemctl kill --kill-whom={whom} --signal {name} 'my-service-20*'")


def test_only_one_deploys_at_a_time(deployed: Owner) -> None:
    """The second shows who deploys what since when, and touches nothing."""
    release = deployed.commit("The next")
    first = deployed.deploy_until("Installed")
    # What it runs as another user stops itself once more when that user's process is seen to stop.
    signal_run(deployed, "STOP", "main")
    try:
        said = deployed.must_fail("deploy")
    finally:
        signal_run(deployed, "CONT", "main")
    assert re.search(rf"deploy {release} by root@\S+ since 20\S+ \S+ UTC is under way", said)
    said = first.communicate()[0]
    assert first.returncode == 0, said
    assert deployed.serves(release)


def test_a_deploy_goes_on_without_its_machine(deployed: Owner) -> None:
    """The machine that deploys is gone in the middle: the release serves, and a status says so."""
    release = deployed.commit("The next")
    with deployed.nothing_lost():
        killed = deployed.deploy_until("The release's own check")
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        deployed.server.wait_until(lambda: deployed.serves(release), "it serves")
        deployed.server.wait_until(
            lambda: f"{release} serves." in deployed.must("deploy-status"), "the status has its end"
        )


@pytest.mark.parametrize("stage", ["Installed", "[1/2]"])
def test_a_killed_run_is_completed_by_the_next(stage: str, deployed: Owner) -> None:
    """The release program is killed: the service goes on, and the next deploy gets past it."""
    release = deployed.commit("The next")
    with deployed.nothing_lost():
        running = deployed.deploy_until(stage)
        signal_run(deployed, "KILL")
        said = running.communicate()[0]
        assert running.returncode != 0
        assert "The run was ended from outside." in said
        deployed.must("deploy")
    assert deployed.serves(release)


def test_a_reboot_in_a_roll_returns_to_the_good_release(deployed: Owner) -> None:
    """A release that was never seen to serve is not what the server starts with."""
    good = deployed.release
    with next_commit(deployed, deployed.project.folder / "README.md", "The next\n"):
        running = deployed.deploy_until("[1/2]")
        deployed.server.cut_power()
        running.communicate()
        deployed.server.power_on()
        deployed.server.wait_until(lambda: deployed.serves(good), "the good release serves")
        assert good in deployed.must("deploy-status")
        release = deployed.release
        deployed.must("deploy")
        assert deployed.serves(release)
    deployed.must("rollback")
    assert deployed.serves(good)


def test_nginx_is_brought_back_from_others_files(deployed: Owner) -> None:
    """Somebody loaded Debian's main file, or put ours back without loading it: the site serves."""
    server, main = deployed.server, "/etc/nginx/nginx.conf"
    server.run(
        f"cp {main} /root/ours && sed -i '/sites-enabled/d' {main} && systemctl reload nginx"
    )
    server.run(f"cp /root/ours {main}")
    release = deployed.commit("The next")
    deployed.must("deploy")
    assert deployed.serves(release)
    with deployed.client() as client:
        assert client.get("/login").status_code == 200


def test_neighbours_are_refused(deployed: Owner) -> None:
    """A site of others that our nginx would not serve ends the deploy, and is named."""
    server = deployed.server
    server.run("printf 'server { listen 8081; }\\n' > /etc/nginx/conf.d/other.conf")
    deployed.commit("The next")
    said = deployed.must_fail("deploy")
    server.run("rm /etc/nginx/conf.d/other.conf")
    assert "/etc/nginx/conf.d/other.conf is neither Debian's" in said
    assert "Nothing has changed" in said
    deployed.must("deploy")


def test_another_python_gets_its_packages_at_boot(deployed: Owner) -> None:
    """After an upgrade of the distribution the environment is made anew from the kept wheels.

    Its folder names the version of Python; that of another version stands for the upgrade.
    """
    server, release = deployed.server, deployed.release
    folder = f"/srv/my-service/releases/{release}/.venv/lib"
    server.run(f"cd {folder} && mv python3.* python3.9 && rm -r /srv/my-service/environments/*")
    server.reboot()
    server.wait_until(lambda: deployed.serves(release), "it serves")


def test_other_ports_take_a_restart(deployed: Owner) -> None:
    """With supervisord a changed number of processes is refused before anything is touched.

    The command in the message does it, and a rollback returns to the former number.
    """
    good, last = deployed.release, deployed.project.worker_ports[-1]
    release = deployed.commit_one_process_more()
    said = deployed.must_fail("deploy")
    assert "make deploy RESTART=yes" in said
    assert deployed.serves(good)
    deployed.must("deploy", RESTART="yes")
    assert deployed.serves(release)
    assert f"my-service-{last + 1}: release {release}" in deployed.must("deploy-status")
    deployed.must("rollback", RESTART="yes")
    assert deployed.serves(good)
    deployed.git("reset", "--quiet", "--hard", "HEAD~1")
