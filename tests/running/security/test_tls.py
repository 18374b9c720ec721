"""What `make stack HTTPS=1` serves over https is judged from outside, as the internet would."""

import re
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.environment import tools
from tests.running.processes import Stack

pytestmark = pytest.mark.full


def test_tls_follows_mozillas_recommendation(address: str, authority: Path) -> None:
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
    """HTTP/2 for clients that support it, HTTP/1.1 for all others."""
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(protocols)
    host, port = address.split(":")
    with (
        socket.create_connection((host, int(port)), 20) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        assert (secure.version(), secure.selected_alpn_protocol()) == ("TLSv1.3", protocols[0])


@pytest.mark.parametrize("path", ["/", "/static/style.css", "/metrics", "/nothing"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_localhost_has_no_strict_transport_security(address: str, host: str, path: str) -> None:
    """With it browsers would refuse plain http on every port of this machine for a year."""
    url = f"https://{address.replace('localhost', host)}{path}"
    with httpx.Client(verify=False, trust_env=False, timeout=20) as client:  # noqa: S501
        answer = client.get(url)
    assert "X-Content-Type-Options" in answer.headers
    assert "Strict-Transport-Security" not in answer.headers


def test_the_site_checks_find_nothing(stack: Stack, address: str, authority: Path) -> None:
    """`check --url` reports nothing about the stack on https."""
    program = stack.project.program(stack.project.slug)
    done = stack.project.run(
        program, "check", "--url", f"https://{address}", SSL_CERT_FILE=str(authority)
    )
    assert done.returncode == 0, done.stdout
    assert not re.search("ERROR|WARNING", done.stdout), done.stdout
