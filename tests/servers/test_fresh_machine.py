"""The README's two commands, on a machine that has only what the README names.

The machine is a fresh Debian of its own, without the settings, caches and programs of this one; it
shares the network, since it must reach the package index as this one does.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.bake import QUESTIONS, TEMPLATE, is_free
from tests.environment import CACHE
from tests.running.processes import wait_until
from tests.running.projects import missing
from tests.servers.servers import image

pytestmark = pytest.mark.servers

README_NAMES = "python3 python3-venv make git"
# What a developer's machine hides: nginx and HAProxy of an ordinary user, an unflushed line, the
# library of the browser's driver, a Python of an early patch level.
SELECTION = "nginx_accepts or test_demo or test_a_visit or from_elsewhere or linked_later"
NOTHING = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
# All that runs there ends with the first process. That one stays root: a process that becomes
# another user outlives its parent.
INSIDE = """
    mount --make-rprivate / && mount --rbind /dev "$0/dev" && mount --bind /sys "$0/sys" || exit
    mount -t proc proc "$0/proc" || exit
    chroot "$0" "$@"
    exit $?
"""


class Machine:
    """A fresh Debian, with a user `newcomer` who may become root by sudo."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def command(self, user: str, *command: str) -> list[str | Path]:
        alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", INSIDE)
        home = "/root" if user == "root" else f"/home/{user}"
        clean = ("env", "-i", f"HOME={home}", *(f"{name}={text}" for name, text in NOTHING.items()))
        become = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups")
        there = ("sh", "-c", 'cd "$HOME" && exec "$@"', "sh")
        return [*alone, self.root, *become, *clean, *there, *command]

    def run(self, user: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run this as a user, in their home, without a terminal and without an environment."""
        return subprocess.run(
            self.command(user, *command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            check=False,
        )

    def must(self, user: str, *command: str) -> str:
        """Run this; it must succeed."""
        done = self.run(user, *command)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-6000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A fresh machine with a clone of this repository in the newcomer's home."""
    disk = CACHE / "servers"
    disk.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fresh-", dir=disk) as folder:
        root = Path(folder)
        subprocess.run(["tar", "-x", "-f", image(disk), "-C", root], check=True)
        root.chmod(0o755)
        reach_the_network(root)
        machine = Machine(root)
        machine.must("root", "apt-get", "update", "-qq")
        packages = README_NAMES.split()
        machine.must("root", "apt-get", "install", "-qq", "--no-install-recommends", *packages)
        machine.must(
            "root", "/usr/sbin/useradd", "--create-home", "--shell", "/bin/bash", "newcomer"
        )
        copy_repository(root / "home/newcomer/tornado-deploy")
        machine.must("root", "chown", "-R", "newcomer:", "/home/newcomer")
        git = ("git", "-C", "tornado-deploy", "-c", "user.name=n", "-c", "user.email=n@example.com")
        machine.must("newcomer", "git", "init", "-q", "tornado-deploy")
        machine.must("newcomer", *git, "add", "--all")
        machine.must("newcomer", *git, "commit", "-q", "--message", "A clone without history")
        yield machine


def reach_the_network(root: Path) -> None:
    """Let apt and pip find there what they find here: addresses, certificates, indexes."""
    targets = subprocess.run(
        [
            *("apt-get", "indextargets", "--format", "deb $(REPO_URI) $(CODENAME) $(COMPONENT)"),
            "Identifier: Packages",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (root / "etc/apt/sources.list").write_text("\n".join(sorted(set(targets.splitlines()))) + "\n")
    settings = subprocess.run(
        ["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True
    ).stdout
    kept = ("Acquire::http", "Acquire::https", "Acquire::Check", "Acquire::Retries")
    lines = [line for line in settings.splitlines() if line.startswith(kept)]
    (root / "etc/apt/apt.conf.d/here").write_text("\n".join(lines) + "\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
    for name in ("resolv.conf", "pip.conf", "ssl/certs/ca-certificates.crt"):
        if (here := Path("/etc") / name).exists():
            shutil.copyfile(here, root / "etc" / name)


def copy_repository(target: Path) -> None:
    """Copy what a clone would have, with what has been changed since the last commit."""
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    files = subprocess.run(listed, cwd=TEMPLATE, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (source := TEMPLATE / name).exists() or source.is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)


def may_become_root(machine: Machine, how: str) -> None:
    rule = machine.root / "etc/sudoers.d/newcomer"
    rule.write_text(f"newcomer ALL=(ALL) {how} ALL\n")
    rule.chmod(0o440)


def test_what_is_missing_is_told_before_anything_long(machine: Machine) -> None:
    """Where sudo cannot ask for its password, the first seconds name what root must install."""
    may_become_root(machine, "PASSWD:")
    done = machine.run("newcomer", "make", "-C", "tornado-deploy", "demo")
    assert done.returncode != 0
    assert "apt-get install nginx-light" in done.stdout
    assert not (machine.root / "home/newcomer/tornado-deploy/.venv").exists()


def test_the_demo_runs(machine: Machine) -> None:
    """`make demo` says that it is ready, and the page is there through the balancer."""
    port = int(QUESTIONS["first_port"]) + 80
    address = f"http://localhost:{port}"
    if not is_free(port):
        missing(f"the demo's port is taken: {address}")
    may_become_root(machine, "NOPASSWD:")
    with tempfile.TemporaryFile() as output:
        demo = subprocess.Popen(
            machine.command("newcomer", "make", "-C", "tornado-deploy", "demo"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def said() -> str:
            return os.pread(output.fileno(), 1_000_000, 0).decode(errors="replace")

        try:
            wait_until(
                lambda: f"Ready: {address}" in said() or demo.poll() is not None,
                "the demo is ready",
                seconds=400,
                evidence=said,
            )
            assert demo.poll() is None, said()
            assert httpx.get(address, trust_env=False).status_code == 200
        finally:
            demo.kill()
            demo.wait()
        wait_until(lambda: is_free(port), "the demo has ended", evidence=said)


def test_the_tests_pass(machine: Machine) -> None:
    """`make test` passes, as far as the selection goes."""
    may_become_root(machine, "NOPASSWD:")
    selected = f"PYTEST_ADDOPTS=-k '{SELECTION}'"
    machine.must("newcomer", "env", "CI=true", selected, "make", "-C", "tornado-deploy", "test")
