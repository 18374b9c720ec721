"""A project with PostgreSQL, on a real server that is stopped, started and made to hang."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.rendered.test_ci import jobs_of, script_of
from tests.running.processes import Stack
from tests.running.projects import Project

pytestmark = pytest.mark.full


@pytest.fixture
def stack(postgresql_project: Project, postgresql: Any) -> Iterator[Stack]:
    with Stack(postgresql_project) as running:
        yield running


def codes(stack: Stack, path: str, **options: Any) -> set[int]:
    """What every process answers at this path."""
    with httpx.Client(trust_env=False, timeout=20, **options) as client:
        return {client.get(f"{url}{path}").status_code for url in stack.worker_urls}


def assert_nobody_died(stack: Stack, pids: dict[int, int]) -> None:
    assert stack.worker_pids() == pids
    assert "FATAL" not in stack.logs()["supervisord.log"]


def test_what_the_ci_runs_is_green(postgresql_project: Project) -> None:
    """Each line of the CI's jobs passes in a project that is fresh, its suite included."""
    project = postgresql_project
    git = ("git", "-c", "user.name=Nobody", "-c", "user.email=nobody@example.com")
    project.must(*git, "init", "--quiet", "--initial-branch", "main")
    project.must(*git, "add", "--all")
    jobs = jobs_of(project.folder)
    for line in [*script_of(jobs["check"]), *script_of(jobs["template"])]:
        project.must("sh", "-ec", line)


def test_a_restart_of_the_server_needs_none_of_the_processes(stack: Stack, postgresql: Any) -> None:
    """While the server is away every process says so and lives; then all go on by themselves."""
    cookies = stack.sign_in(*stack.add_user())
    pids = stack.worker_pids()
    postgresql.stop()
    try:
        assert codes(stack, "/readyz") == {503}
        assert codes(stack, "/api/me", cookies=cookies) == {503}
        assert codes(stack, "/healthz") == {200}
    finally:
        postgresql.start()
    stack.wait_until(lambda: stack.ready, "every process is ready again")
    assert codes(stack, "/api/me", cookies=cookies) == {200}
    assert_nobody_died(stack, pids)


def test_a_server_that_hangs_stops_nobody(stack: Stack, postgresql: Any) -> None:
    """Requests get 503 in time, /readyz says why, and all is well when the server goes on."""
    cookies = stack.sign_in(*stack.add_user())
    pids = stack.worker_pids()
    postgresql.freeze()
    try:
        assert codes(stack, "/readyz") == {503}
        assert codes(stack, "/api/me", cookies=cookies) == {503}
        assert codes(stack, "/healthz") == {200}
    finally:
        postgresql.thaw()
    stack.wait_until(lambda: stack.ready, "every process is ready again")
    assert codes(stack, "/api/me", cookies=cookies) == {200}
    assert_nobody_died(stack, pids)


def test_processes_start_without_their_server(stack: Stack, postgresql: Any) -> None:
    """Started while the server is away they wait, un-ready, and supervisord gives none up."""
    stack.stop_workers()
    postgresql.stop()
    try:
        stack.supervisor.startProcessGroup(stack.project.slug, True)
        pids = stack.worker_pids()
        assert codes(stack, "/readyz") == {503}
    finally:
        postgresql.start()
    stack.wait_until(lambda: stack.ready, "every process is ready")
    assert_nobody_died(stack, pids)


def test_without_a_server_one_is_told_how_to_get_one(stack: Stack) -> None:
    """Where no server answers, `migrate` ends with a reason and the command that makes one."""
    done = stack.project.run(
        stack.project.program(stack.project.slug),
        "migrate",
        DATABASE_URL="postgresql+psycopg:///nothing?host=/nowhere",
    )
    assert done.returncode == 1
    assert "The database cannot be used" in done.stdout
    assert "apt-get install postgresql" in done.stdout
    assert "Traceback" not in done.stdout
