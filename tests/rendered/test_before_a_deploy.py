"""What a deploy judges before it changes anything: the server's ports, and the certificate."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Sockets as `ss -Hltnpe` shows them: of nginx, also without its name, of the service, of sshd.
SOCKETS = """
LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=9,fd=5)) ino:1 sk:1
LISTEN 0 511 [::]:443 [::]:* ino:2 sk:2 cgroup:/system.slice/nginx.service
LISTEN 0 128 127.0.0.1:8000 0.0.0.0:* users:(("python",pid=8,fd=5)) uid:{user} ino:3 sk:3
LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=7,fd=3)) ino:4 sk:4
"""
APACHE = 'LISTEN 0 511 *:80 *:* users:(("apache2",pid=6,fd=4)) ino:5 sk:5\n'
OTHER = 'LISTEN 0 5 127.0.0.1:8001 0.0.0.0:* users:(("java",pid=5,fd=4)) uid:999999 ino:6 sk:6\n'
JUDGE = """
import sys
from pathlib import Path
sys.path.insert(0, "deploy/release")
from balancer import Balancer
from home import Console, Home, Problem
try:
    Balancer(Home(Path("."), "my-service"), Console()).judge(Path(sys.argv[1]))
except Problem as problem:
    print(problem)
"""


def others(project: Path, folder: Path, sockets: str) -> list[str]:
    """The programs in the way, where `ss` says this."""
    folder.mkdir()
    (folder / "sockets").write_text(sockets.strip().format(user=os.getuid()) + "\n")
    (folder / "ss").write_text(f"#!/bin/sh\ncat {folder}/sockets\n")
    (folder / "ss").chmod(0o755)
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    done = subprocess.run(
        [sys.executable, "-", folder, user, "8000", "8001", "8079"],
        input=(project / "deploy/release/ask.py").read_text(),
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        check=True,
        capture_output=True,
        text=True,
    )
    return list(json.loads(done.stdout)["others"])


def test_who_holds_a_port_is_named(project: Path, tmp_path: Path) -> None:
    """A port of the load balancer or the service is free, theirs, or named with its holder."""
    assert others(project, tmp_path / "well", SOCKETS) == []
    (apache,) = others(project, tmp_path / "apache", SOCKETS + APACHE)
    assert '"apache2",pid=6' in apache
    (java,) = others(project, tmp_path / "java", SOCKETS + OTHER)
    assert "127.0.0.1:8001" in java


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def certificates(folder: Path, domain: str, *, days: str = "30") -> None:
    """Make an authority, and a certificate that it signs; its chain is fullchain.pem."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
    new = ("req", "-x509", *key, "-days", "30")
    openssl(folder, *new, "-subj", "/CN=One", "-keyout", "one.key", "-out", "one.pem")
    openssl(folder, *new, "-subj", "/CN=Two", "-keyout", "two.key", "-out", "two.pem")
    names = ("-subj", f"/CN={domain}", "-addext", f"subjectAltName=DNS:{domain}")
    openssl(folder, "req", "-new", *key, *names, "-keyout", "privkey.pem", "-out", "request")
    sign = ("-CA", "one.pem", "-CAkey", "one.key", "-CAcreateserial", "-copy_extensions", "copy")
    end = ("-not_after", days) if days.endswith("Z") else ("-days", days)
    openssl(folder, "x509", "-req", "-in", "request", *sign, *end, "-out", "leaf.pem")
    chain(folder, "leaf.pem", "one.pem")


def chain(folder: Path, *names: str) -> None:
    (folder / "fullchain.pem").write_text("".join((folder / name).read_text() for name in names))


def judged(project: Path, folder: Path) -> str:
    """What the release program says of the certificate in this folder; nothing if it is good."""
    command = [sys.executable, "-c", JUDGE, folder]
    done = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_good_certificate_is_taken(project: Path, tmp_path: Path) -> None:
    """So is none, where it does not come from the inventory."""
    assert judged(project, tmp_path) == ""
    certificates(tmp_path, "example.com")
    assert judged(project, tmp_path) == ""
    # The file may have the certificate alone.
    chain(tmp_path, "leaf.pem")
    assert judged(project, tmp_path) == ""


def expired(folder: Path) -> None:
    certificates(folder, "example.com", days="0")


def of_another_name(folder: Path) -> None:
    certificates(folder, "example.org")


def with_another_key(folder: Path) -> None:
    certificates(folder, "example.com")
    (folder / "privkey.pem").write_text((folder / "two.key").read_text())


def with_another_chain(folder: Path) -> None:
    certificates(folder, "example.com")
    chain(folder, "leaf.pem", "two.pem")


def cut_off(folder: Path) -> None:
    certificates(folder, "example.com")
    (folder / "fullchain.pem").write_text((folder / "leaf.pem").read_text()[:200])


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (expired, "The certificate has expired"),
        (of_another_name, "The certificate is not for example.com"),
        (with_another_key, "do not belong together"),
        (with_another_chain, "is not signed by the one behind it"),
        (cut_off, "are no certificate and its key"),
    ],
)
def test_a_certificate_that_would_not_serve_is_refused(
    make: Callable[[Path], None], complaint: str, project: Path, tmp_path: Path
) -> None:
    """What is wrong with it is said before the one in place is touched."""
    make(tmp_path)
    assert complaint in judged(project, tmp_path)
