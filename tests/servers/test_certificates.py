"""A certificate from Let's Encrypt, which is played by its own test server, for nginx.

For HAProxy see test_other_choices.py.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.authority import Authority
from tests.servers.deploys import Owner
from tests.servers.servers import Site

pytestmark = pytest.mark.servers


@pytest.fixture
def owner(site: Site) -> Iterator[Owner]:
    """Somebody with a bare server, whose certificate the authority will sign."""
    with (
        tempfile.TemporaryDirectory(prefix="owner-") as folder,
        Authority(site) as authority,
        site.server("server") as server,
    ):
        yield Owner(Path(folder), server, authority=authority)


def test_a_certificate_is_asked_for_and_renewed(owner: Owner) -> None:
    """The first deploy brings one that browsers trust; a renewed one is served without a deploy."""
    owner.must("deploy")
    with owner.sign_in() as client:
        assert client.get("/api/me").status_code == 200
    owner.renew_certificate()
    assert "changed=0" in owner.must("deploy")
