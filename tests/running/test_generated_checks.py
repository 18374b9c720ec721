"""A generated project is green at birth: its own tests and checks, on each supported Python."""

import sys
from pathlib import Path

import pytest

from tests import interpreters
from tests.environment import environment
from tests.running.projects import Project

pytestmark = pytest.mark.full

RUNNING = "{}.{}".format(*sys.version_info)
# Those that this machine lacks are named at the top of the report.
VERSIONS = [version for version in interpreters.SUPPORTED if version in interpreters.found()]


@pytest.fixture(scope="module", params=[*VERSIONS, "nasty answers"])
def checked(request: pytest.FixtureRequest, workshop: Path) -> Project:
    """A project that is set up and committed: the default answers on each Python, and the nasty."""
    version = request.param
    if version == "nasty answers":
        project = request.getfixturevalue("nasty_project")
    elif version == RUNNING:
        project = request.getfixturevalue("default_project")
    else:
        python = interpreters.found()[version]
        project = Project.render(workshop / version)
        project.set_up(packages=environment(project.folder, python).parent, python=python)
        assert project.must(project.program("python"), "-V").startswith(f"Python {version}.")
    git(project, "init", "--quiet", "--initial-branch", "main")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Begin")
    return project


def git(project: Project, *command: str) -> str:
    nobody = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.com")
    return project.must("git", *nobody, *command)


def changes(project: Project) -> str:
    """What differs from what was generated, new files included."""
    return git(project, "status", "--porcelain")


def test_the_suite_is_green(checked: Project) -> None:
    """`make test` passes, and leaves no file that git would see."""
    checked.must("make", "test")
    assert changes(checked) == ""


def test_the_checks_are_content_and_change_nothing(checked: Project) -> None:
    """`make check` finds nothing to say in what was just generated."""
    assert changes(checked) == ""
    checked.must("make", "check")
    assert changes(checked) == ""


def test_there_is_nothing_to_fix(checked: Project) -> None:
    """`make fix` changes nothing, the list of settings it writes included."""
    checked.must("make", "fix")
    assert changes(checked) == ""


def test_every_commit_passes_pre_commit(checked: Project, workshop: Path) -> None:
    """All hooks pass on all files, with nothing fetched from anywhere."""
    said = checked.must(
        checked.program("pre-commit"), "run", "--all-files", PRE_COMMIT_HOME=str(workshop / "hooks")
    )
    assert "Passed" in said
    assert "Skipped" not in said
    assert changes(checked) == ""
