"""What `make stack HTTPS=1` serves over https is judged from outside, as the internet would."""

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environment import tools
from tests.running.processes import Stack
from tests.running.projects import Project

pytestmark = pytest.mark.full

KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 30"


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def stack(each_project: Project, authority: Path) -> Iterator[Stack]:
    """The stack of each project in turn, on https too."""
    with Stack(each_project, "make", "stack", "HTTPS=1") as running:
        yield running


@pytest.fixture(scope="module")
def address(stack: Stack) -> str:
    return f"localhost:{stack.project.first_port + 443}"


def test_tls_is_as_mozilla_recommends(address: str, authority: Path) -> None:
    """sslyze finds the stack compliant with Mozilla's configuration "intermediate"."""
    command = [tools("sslyze") / "sslyze", "--mozilla_config", "intermediate"]
    done = subprocess.run(
        [*command, "--certinfo_ca_file", authority, address],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{address}: OK - Compliant" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("protocols", [["h2", "http/1.1"], ["http/1.1"]], ids=str)
def test_the_newest_protocol_is_chosen(address: str, authority: Path, protocols: list[str]) -> None:
    """HTTP/2 with who speaks it, HTTP/1.1 with everybody else."""
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(protocols)
    host, port = address.split(":")
    with (
        socket.create_connection((host, int(port)), 20) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        assert secure.selected_alpn_protocol() == protocols[0]


def test_the_site_checks_find_nothing(stack: Stack, address: str, authority: Path) -> None:
    """`check --url` has nothing to say about the stack on https."""
    program = stack.project.program(stack.project.slug)
    done = stack.project.run(
        program, "check", "--url", f"https://{address}", SSL_CERT_FILE=str(authority)
    )
    assert done.returncode == 0, done.stdout
    assert not re.search("ERROR|WARNING", done.stdout), done.stdout
