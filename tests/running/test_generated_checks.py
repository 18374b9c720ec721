"""A generated project is green at birth: its own tests and checks, on each supported Python."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests import interpreters
from tests.bake import free_first_port
from tests.environment import CACHE, environment
from tests.running.processes import Service
from tests.running.projects import NASTY as NASTY_ANSWERS
from tests.running.projects import Project

pytestmark = pytest.mark.full

HERE = "{}.{}".format(*sys.version_info)
# The Pythons that this machine lacks are named at the top of the report. Those that the tests do
# not run on themselves have a shorter test too.
OTHERS = [version for version in interpreters.found() if version != HERE]
# All commands in one project take a minute of two processors, so the nasty answers have no run of
# their own where there are other Pythons: they are those of the newest.
*DEFAULT, NASTY = OTHERS or [f"{HERE}, nasty answers"]
SUBJECTS = [HERE, *(pytest.param(subject, marks=pytest.mark.rest) for subject in [*DEFAULT, NASTY])]

COMMANDS = {
    "check": ("make", "check"),
    "test": ("make", "test"),
    "fix": ("make", "fix"),
    "commit": (".venv/bin/pre-commit", "run", "--all-files"),
}


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what git then saw that was not generated."""

    done: CompletedProcess[str]
    changes: str


@pytest.fixture(scope="module")
def outcomes(
    workshop: Path, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[dict[str, Outcome]]]]:
    """All commands in all projects: the default answers on each Python, the nasty ones on the last.

    They run side by side, as many at a time as there are processors.
    """
    # And they sign in at a provider, as the default answers do not.
    answers = {NASTY: NASTY_ANSWERS | {"sign_in": "sso"}}
    subjects = {
        item.callspec.params["outcome"]
        for item in request.session.items
        if "outcome" in getattr(item, "fixturenames", ())
    }
    projects = {
        subject: request.getfixturevalue("default_project")
        if subject == HERE
        else Project.render(workshop / f"full-{subject}", **answers.get(subject, {}))
        for subject in subjects
    }
    with ThreadPoolExecutor(os.cpu_count()) as side_by_side:
        yield {
            subject: side_by_side.submit(run_all, subject, project, workshop / "hooks")
            for subject, project in projects.items()
        }


def set_up_on(version: str, project: Project) -> None:
    python = interpreters.found().get(version, Path(sys.executable))
    project.set_up(packages=environment(project.folder, python).parent, python=python)
    assert project.must(project.program("python"), "-V").startswith(f"Python {version}.")


def run_all(subject: str, project: Project, hooks: Path) -> dict[str, Outcome]:
    if subject != HERE:
        set_up_on(subject.partition(",")[0], project)
    shared = {"PRE_COMMIT_HOME": str(hooks), "MYPY_CACHE_DIR": str(CACHE / "mypy")}
    git(project, "init", "--quiet", "--initial-branch", "main")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Begin")
    return {
        name: Outcome(project.run(*command, **shared), git(project, "status", "--porcelain"))
        for name, command in COMMANDS.items()
    }


def git(project: Project, *command: str) -> str:
    nobody = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.com")
    return project.must("git", *nobody, *command)


@pytest.fixture(params=SUBJECTS)
def outcome(
    request: pytest.FixtureRequest, outcomes: dict[str, Future[dict[str, Outcome]]]
) -> dict[str, Outcome]:
    return outcomes[request.param].result()


@pytest.mark.parametrize("version", OTHERS)
def test_a_service_runs_on_each_python(version: str, workshop: Path) -> None:
    """On each other Python every module can be imported and a service answers."""
    project = Project.render(workshop / f"python-{version}")
    set_up_on(version, project)
    names = [
        ".".join(path.relative_to(project.package.parent).with_suffix("").parts)
        for path in project.package.rglob("*.py")
        if path.name != "__main__.py" and "migrations" not in path.parts
    ]
    every = "; ".join(f"import {name.removesuffix('.__init__')}" for name in names)
    project.must(project.program("python"), "-W", "error", "-c", every)
    with Service(project, free_first_port(1)) as service:
        cookies = service.sign_in(*service.add_user())
        with service.client(cookies=cookies) as browser:
            assert browser.get("/api/me").status_code == 200


def assert_green(outcome: Outcome) -> None:
    assert outcome.done.returncode == 0, outcome.done.stdout[-6000:]
    assert outcome.changes == ""


def test_the_suite_is_green(outcome: dict[str, Outcome]) -> None:
    """`make test` passes, and leaves no file that git would see."""
    assert_green(outcome["test"])


def test_the_checks_find_nothing(outcome: dict[str, Outcome]) -> None:
    """`make check` reports nothing in a new project, and changes nothing."""
    assert_green(outcome["check"])


def test_there_is_nothing_to_fix(outcome: dict[str, Outcome]) -> None:
    """`make fix` changes nothing, including the list of settings."""
    assert_green(outcome["fix"])


def test_every_commit_passes_pre_commit(outcome: dict[str, Outcome]) -> None:
    """All hooks pass on all files, without a download."""
    assert_green(outcome["commit"])
    assert "Passed" in outcome["commit"].done.stdout
    assert "Skipped" not in outcome["commit"].done.stdout
