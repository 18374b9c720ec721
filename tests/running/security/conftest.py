"""The fixtures for attacks: a stack on http and https, and balancers as on a server before it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running.processes import Stack
from tests.running.projects import Project
from tests.running.security.balancers import PROXY, Balancer

KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 30"


@pytest.fixture(scope="package")
def authority(each_project: Project) -> Iterator[Path]:
    """Whom to trust: an authority of our own has signed the certificate that the stack uses."""
    folder = each_project.folder / "var" / "tls"
    folder.mkdir(mode=0o700)
    names = "-addext subjectAltName=DNS:localhost -addext extendedKeyUsage=serverAuth"
    for request in (
        f"{KEY} -subj /CN=authority -addext keyUsage=critical,keyCertSign"
        " -keyout authority.key -out authority.pem",
        f"{KEY} -subj /CN=localhost {names} -addext basicConstraints=critical,CA:FALSE"
        " -CA authority.pem -CAkey authority.key -keyout privkey.pem -out fullchain.pem",
    ):
        command = ["openssl", "req", "-x509", *request.split()]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / "fullchain.pem.key").symlink_to("privkey.pem")
    yield folder / "authority.pem"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


@pytest.fixture(scope="package")
def stack(each_project: Project, authority: Path) -> Iterator[Stack]:
    """The stack of each project in turn, on https too, while the tests of this folder last."""
    with Stack(each_project, "make", "stack", "HTTPS=1") as running:
        yield running


@pytest.fixture(scope="package")
def address(stack: Stack) -> str:
    """Host and port of the stack on https."""
    return f"localhost:{stack.project.first_port + 443}"


@pytest.fixture(scope="package")
def servers_balancer(stack: Stack, workshop: Path) -> Iterator[Balancer]:
    """The balancer with a server's files, in front of the same processes, reached by anybody."""
    with Balancer(stack.project, workshop / f"server-{stack.project.balancer}") as running:
        yield running


@pytest.fixture(scope="package")
def balancer_behind_proxy(stack: Stack, workshop: Path) -> Iterator[Balancer]:
    """The same behind a TLS proxy, whose address is PROXY."""
    folder = workshop / f"behind-proxy-{stack.project.balancer}"
    with Balancer(stack.project, folder, behind=PROXY) as running:
        yield running
