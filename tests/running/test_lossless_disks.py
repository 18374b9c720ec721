"""A database that is away, disks that are full: what still works meanwhile.

The balancer makes no difference here. Each test has a stack of its own, so no stack that a module
shares may run meanwhile: it would answer in place of one that finds its ports taken.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.running.faults import changed, full, kill, small_disk
from tests.running.load import nothing_lost, session_at, usual_requests
from tests.running.processes import Stack, answers
from tests.running.projects import Project

pytestmark = [pytest.mark.full, pytest.mark.soak]

DATA = Path("var", "data")
FULL = "The database cannot be used: (sqlite3.OperationalError) database or disk is full"


@pytest.fixture
def project(default_project: Project) -> Iterator[Project]:
    """A project whose database is in a folder of its own."""
    url = f"sqlite+aiosqlite:///{DATA}/service.sqlite3"
    with changed(default_project.folder / ".env", f"DATABASE_URL={url}\n"):
        yield default_project
    shutil.rmtree(default_project.folder / DATA, ignore_errors=True)


def states(stack: Stack) -> list[str]:
    """What each process says at /readyz: its status and why."""
    said = []
    for url in stack.worker_urls:
        with suppress(httpx.TransportError):
            answer = httpx.get(f"{url}/readyz", trust_env=False)
            said.append(f"{answer.status_code} {answer.json()['status']}")
    return said


@pytest.mark.parametrize(
    ("instead", "reason"),
    [
        ("nothing", "unable to open database file"),
        ("another disk", "unable to open database file"),
        ("rubbish", "file is not a database"),
    ],
)
def test_a_start_without_the_database(instead: str, reason: str, project: Project) -> None:
    """Processes live and report why they are not ready; with the database they become ready."""
    data = project.folder / DATA
    with Stack(project) as stack:
        stack.stop_workers()
        kept = data.rename(data.with_name("kept"))
        if instead == "another disk":
            data.symlink_to("/proc/nowhere")
        elif instead == "rubbish":
            data.mkdir()
            (data / "service.sqlite3").write_bytes(b"this is no database" * 1000)
        stack.supervisor.startProcessGroup(project.slug, False)

        expected = [f"503 the database cannot be used: {reason}"] * len(stack.worker_ports)
        stack.wait_until(lambda: states(stack) == expected, "all say why")
        # Longer than supervisord takes to give up what does not start.
        time.sleep(3)
        assert stack.states() == {"RUNNING"}
        assert answers(f"{stack.url}/healthz")
        pids = stack.worker_pids()

        data.unlink() if data.is_symlink() else shutil.rmtree(data, ignore_errors=True)
        kept.rename(data)
        stack.wait_until(lambda: stack.ready, "all are ready")
        assert stack.worker_pids() == pids


def sign_in(client: httpx.Client, account: tuple[str, str]) -> httpx.Response:
    """Sign in by the form."""
    client.get("/login")
    token = client.cookies["my-service-xsrf"]
    fields = {"name": account[0], "password": account[1], "_xsrf": token}
    return client.post("/login", data=fields)


def test_the_disk_of_the_database_is_full(project: Project) -> None:
    """Sessions still work; a login gets 503, with its reason in the log; with space it works."""
    data = project.folder / DATA
    with small_disk(data), Stack(project) as stack:
        account = stack.add_user()
        requests = usual_requests(session_at(stack))
        with full(data):
            with nothing_lost(stack.url, requests, rate=100), stack.client() as client:
                answer = sign_in(client, account)
                assert answer.status_code == 503
                assert "Retry-After" in answer.headers
                assert stack.ready
            stack.wait_until(
                lambda: any(FULL in text for text in stack.logs().values()), "a log has the reason"
            )
        with stack.client() as client:
            assert sign_in(client, account).status_code == 303


def test_the_disk_of_the_logs_is_full(project: Project) -> None:
    """All works, and a dead process is replaced; with space logging continues."""
    logs = project.folder / "var" / "log"
    shutil.rmtree(logs, ignore_errors=True)
    with small_disk(logs), Stack(project) as stack:
        account = stack.add_user()
        requests = usual_requests(session_at(stack))
        with full(logs):
            with nothing_lost(stack.url, requests, rate=100), stack.client() as client:
                assert sign_in(client, account).status_code == 303
            kill(stack, stack.worker_ports[0])
            stack.wait_until(lambda: stack.ready, "it is back")
        with stack.client() as client:
            request_id = client.get("/").headers["X-Request-Id"]
        stack.wait_until(
            lambda: any(request_id in text for text in stack.logs().values()),
            "what is asked is logged again",
        )
