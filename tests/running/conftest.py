"""The index of the fixtures for what runs: projects that are set up, stacks, a browser.

Everything is made once for each run of the tests, in one folder that is gone afterwards.
"""

import os
import runpy
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.bake import CHOICES, TEMPLATE
from tests.environment import environment
from tests.running.processes import Stack, kill, processes_in
from tests.running.projects import NASTY, Project, missing, require

SCREENSHOTS = pytest.StashKey[Path]()
CHROMIUM_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-background-networking"
    " --disable-component-update --disable-sync --no-first-run"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, those that share a stack stay together."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            file = item.path if item.path.parent == here else item.path.parent
            item.add_marker(pytest.mark.xdist_group(file.stem))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, None]:
    """Show the last lines of the stack's logs with a test that fails."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(stack, Stack):
        report.sections.append(("the stack's logs", stack.evidence()))
    return report


@pytest.fixture(scope="session")
def screenshots(request: pytest.FixtureRequest) -> Path:
    """The folder in which screenshots stay; the report names it."""
    folder = Path(os.environ.get("SCREENSHOTS", TEMPLATE / "tests" / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    request.config.stash[SCREENSHOTS] = folder
    return folder


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if SCREENSHOTS in config.stash:
        terminalreporter.write_line(f"Screenshots are in {config.stash[SCREENSHOTS]}")


@pytest.fixture(scope="session")
def workshop() -> Iterator[Path]:
    """A folder with a short path for everything that is made here."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        try:
            yield Path(folder)
        finally:
            kill(processes_in(Path(folder)))


@pytest.fixture(scope="session")
def default_project(workshop: Path) -> Project:
    """The project of the default answers, set up by its own `make setup`."""
    project = Project.render(workshop / "default")
    project.set_up()
    return project


@pytest.fixture(scope="session")
def nasty_project(workshop: Path, default_project: Project) -> Project:
    """The project of the nastiest answers, with HAProxy, set up."""
    project = Project.render(workshop / "nasty", **NASTY)
    project.set_up(packages=default_project.folder / ".venv")
    return project


@pytest.fixture(scope="session")
def postgresql_source() -> Path:
    """The file from which the tests of a generated project start a PostgreSQL server.

    Its name holds a condition of the template, with which nothing can be imported.
    """
    (source,) = (TEMPLATE / "<<cookiecutter.project_slug>>" / "tests").glob(
        "*postgresql*databases*"
    )
    return source


@pytest.fixture(scope="session")
def postgresql(postgresql_source: Path) -> Iterator[Any]:
    """A PostgreSQL server: `url(name)`, `start`, `stop`, `freeze`, `thaw`; `Databases` has all."""
    databases = runpy.run_path(str(postgresql_source))["Databases"]
    try:
        server = databases()
    except LookupError as problem:
        missing(str(problem))
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgresql_project(workshop: Path, postgresql: Any) -> Project:
    """A project with PostgreSQL and GitLab, set up, with a database on that server."""
    project = Project.render(workshop / "postgresql", database="postgresql", ci="gitlab")
    with (project.folder / ".env").open("a") as env:
        env.write(f"DATABASE_URL={postgresql.new_url()}\n")
    project.set_up(packages=environment(project.folder).parent)
    return project


@pytest.fixture(scope="session", params=CHOICES["load_balancer"])
def each_project(request: pytest.FixtureRequest) -> Project:
    """A project for each balancer in turn."""
    require(request.param)
    fixture = {"nginx": "default_project", "haproxy": "nasty_project"}[request.param]
    return request.getfixturevalue(fixture)


@pytest.fixture(scope="module")
def stack(each_project: Project) -> Iterator[Stack]:
    """The stack of each project in turn, running while the tests of one module last."""
    with Stack(each_project) as running:
        yield running


# While Playwright runs, nothing else in this thread can run an event loop: so not for the session.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS.split())
        yield browser
        browser.close()
