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
from tests.environment import environment
from tests.running.projects import Project

pytestmark = pytest.mark.full

HERE = "{}.{}".format(*sys.version_info)
NASTY = "nasty answers"
# The Pythons that this machine lacks are named at the top of the report.
SUBJECTS = [*interpreters.found(), NASTY]

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
    workshop: Path, default_project: Project, nasty_project: Project
) -> Iterator[dict[str, Future[dict[str, Outcome]]]]:
    """All commands in all projects: the default answers on each Python, and the nasty ones.

    They run side by side, as many at a time as there are processors.
    """
    projects = {
        version: default_project if version == HERE else Project.render(workshop / version)
        for version in interpreters.found()
    } | {NASTY: nasty_project}
    with ThreadPoolExecutor(os.cpu_count()) as side_by_side:
        yield {
            subject: side_by_side.submit(run_all, subject, project, workshop / "hooks" / subject)
            for subject, project in projects.items()
        }


def run_all(subject: str, project: Project, hooks: Path) -> dict[str, Outcome]:
    if subject not in (HERE, NASTY):
        python = interpreters.found()[subject]
        project.set_up(packages=environment(project.folder, python).parent, python=python)
        assert project.must(project.program("python"), "-V").startswith(f"Python {subject}.")
    git(project, "init", "--quiet", "--initial-branch", "main")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Begin")
    return {
        name: Outcome(
            project.run(*command, PRE_COMMIT_HOME=str(hooks)), git(project, "status", "--porcelain")
        )
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


def assert_green(outcome: Outcome) -> None:
    assert outcome.done.returncode == 0, outcome.done.stdout[-6000:]
    assert outcome.changes == ""


def test_the_suite_is_green(outcome: dict[str, Outcome]) -> None:
    """`make test` passes, and leaves no file that git would see."""
    assert_green(outcome["test"])


def test_the_checks_are_content(outcome: dict[str, Outcome]) -> None:
    """`make check` finds nothing to say in what was just generated, and changes nothing."""
    assert_green(outcome["check"])


def test_there_is_nothing_to_fix(outcome: dict[str, Outcome]) -> None:
    """`make fix` changes nothing, the list of settings it writes included."""
    assert_green(outcome["fix"])


def test_every_commit_passes_pre_commit(outcome: dict[str, Outcome]) -> None:
    """All hooks pass on all files, with nothing fetched from anywhere."""
    assert_green(outcome["commit"])
    assert "Passed" in outcome["commit"].done.stdout
    assert "Skipped" not in outcome["commit"].done.stdout
