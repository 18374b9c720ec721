"""Certificates from Let's Encrypt, which is played by its own test server."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bake import CHOICES
from tests.servers.authority import Authority
from tests.servers.deploys import Owner
from tests.servers.servers import Site

pytestmark = pytest.mark.servers

ISSUERS = "openssl x509 -noout -issuer -in /etc/ssl/my-service/fullchain.pem"


@pytest.fixture(params=CHOICES["load_balancer"])
def owner(site: Site, request: pytest.FixtureRequest) -> Iterator[Owner]:
    """Somebody with a bare server, whose certificate the authority will sign."""
    with (
        tempfile.TemporaryDirectory(prefix="owner-") as folder,
        Authority(site) as authority,
        site.server("server") as server,
    ):
        yield Owner(Path(folder), server, authority=authority, load_balancer=request.param)


def test_a_certificate_is_asked_for_and_renewed(owner: Owner) -> None:
    """The first deploy brings one that browsers trust; a renewed one is served without a deploy."""
    owner.must("deploy")
    assert "Pebble" in owner.server.run(ISSUERS)
    with owner.sign_in() as client:
        assert client.get("/api/me").status_code == 200
    first = owner.certificate()
    owner.server.run("certbot renew --force-renewal --quiet --no-random-sleep-on-renew")
    owner.server.wait_until(lambda: owner.certificate() != first, "the new one is served")
    assert owner.server.run("systemctl is-enabled certbot.timer") == "enabled"
    assert "changed=0" in owner.must("deploy")
