"""The index of the fixtures for deploys: a site, and servers on it."""

from collections.abc import Iterator

import pytest

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
