"""The index of the fixtures for deploys: a site, and servers on it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.deploys import Owner
from tests.servers.servers import Server, Site


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The network on which all tests have their servers."""
    with Site() as site:
        yield site


@pytest.fixture
def bare_server(site: Site, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server on which nothing has been done yet."""
    with site.server("bare") as server:
        yield server


@pytest.fixture(scope="session")
def owner(site: Site) -> Iterator[Owner]:
    """Somebody with a project and a bare server, to which it is deployed in the first test."""
    with (
        tempfile.TemporaryDirectory(prefix="owner-") as folder,
        site.server("server") as server,
    ):
        yield Owner(Path(folder), server)


@pytest.fixture(scope="session")
def deployed(owner: Owner) -> Owner:
    """The same, when the first deploy is done."""
    owner.must("deploy")
    return owner
