"""The index of the fixtures for deploys: a site, and servers on it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.authority import Authority
from tests.servers.deploys import Owner
from tests.servers.servers import Server, Site

# Files that take longest come first, so that two workers end together.
LONGEST = ["test_swarm", "test_deploy", "test_compose", "test_two_services", "test_fresh_machine"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The network on which all tests have their servers."""
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def bare_server(site: Site) -> Iterator[Server]:
    """A server on which nothing has been done yet."""
    with site.server("bare") as server:
        yield server


@pytest.fixture(scope="module")
def owner(site: Site) -> Iterator[Owner]:
    """An owner of a project and a bare server, whose certificate the authority will sign."""
    with (
        tempfile.TemporaryDirectory(prefix="owner-") as folder,
        Authority(site) as authority,
        site.server("server") as server,
    ):
        yield Owner(Path(folder), server, authority=authority)


@pytest.fixture(scope="module")
def deployed(owner: Owner) -> Owner:
    """The same, when the first deploy is done."""
    owner.must("deploy")
    return owner
