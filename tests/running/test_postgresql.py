"""A project with PostgreSQL, on a real server."""

import pytest

from tests.rendered.test_ci import jobs_of, script_of
from tests.running.projects import Project

pytestmark = pytest.mark.full


def test_what_the_ci_runs_is_green(postgresql_project: Project) -> None:
    """Each line of the CI's jobs passes in a project that is fresh, its suite included."""
    project = postgresql_project
    git = ("git", "-c", "user.name=Nobody", "-c", "user.email=nobody@example.com")
    project.must(*git, "init", "--quiet", "--initial-branch", "main")
    project.must(*git, "add", "--all")
    jobs = jobs_of(project.folder)
    for line in [*script_of(jobs["check"]), *script_of(jobs["template"])]:
        project.must("sh", "-ec", line)
