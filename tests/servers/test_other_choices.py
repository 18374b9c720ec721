"""A server with all that those of the other tests have not.

HAProxy, systemd, PostgreSQL, and a certificate from Let's Encrypt, played by its own test server.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running.assets import style_of
from tests.servers.attacker import attack
from tests.servers.authority import Authority
from tests.servers.deploys import Owner
from tests.servers.servers import Site

pytestmark = pytest.mark.servers


class OwnDatabase(Owner):
    """An owner with the database on the server itself."""

    def inventory(self) -> dict[str, object]:
        return super().inventory() | {"databases": self.group(self.server)}


@pytest.fixture(scope="module")
def deployed(site: Site) -> Iterator[Owner]:
    """One to whose server the first release is deployed."""
    choices = {
        "load_balancer": "haproxy",
        "process_manager": "systemd",
        "database": "postgresql",
    }
    with (
        tempfile.TemporaryDirectory(prefix="owner-") as folder,
        Authority(site) as authority,
        site.server("other") as server,
    ):
        owner = OwnDatabase(Path(folder), server, authority=authority, **choices)
        owner.must("deploy")
        yield owner


def test_a_renewed_certificate_is_served(deployed: Owner) -> None:
    """It is trusted, and certbot's timer brings the next one without a deploy."""
    deployed.renew_certificate()


def test_an_upgrade_and_a_rollback_lose_nothing(deployed: Owner) -> None:
    """While requests come in, a new release takes over, and the one before takes over again.

    Pages of both have their own static files all the time, which browsers may keep. Links to root's
    files that the service's user has put in the place of its own lead the deploy nowhere.
    """
    before = deployed.release
    release = deployed.commit_another_style()
    with deployed.nothing_lost():
        with attack(deployed.server):
            old, new = deployed.ask_for_files_during("deploy")
        assert style_of(old) != style_of(new)
        assert deployed.serves(release)
        deployed.must("rollback")
    assert deployed.serves(before)
    deployed.git("reset", "--quiet", "--hard", "HEAD~1")
    # It comes in by the socket, as the user it is: there is no password to keep.
    assert "DATABASE_URL" not in deployed.settings.read_text()


def test_one_process_more_and_back_loses_nothing(deployed: Owner) -> None:
    """Under systemd others start beside those that serve; those of no release are stopped."""
    before, last = deployed.release, deployed.project.worker_ports[-1]
    release = deployed.commit_one_process_more()
    with deployed.nothing_lost(reloaded=True):
        deployed.must("deploy")
        assert deployed.serves(release)
        status = deployed.must("deploy-status")
        assert f"my-service-{last + 1}: release {release}" in status
        deployed.must("rollback")
    assert deployed.serves(before)
    assert deployed.server.run(f"ss -Hltn sport = :{last + 1}") == ""
    deployed.git("reset", "--quiet", "--hard", "HEAD~1")
