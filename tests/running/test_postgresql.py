"""A project with PostgreSQL, on a real server that restarts, hangs and is away."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bake import free_first_port
from tests.rendered.test_ci import jobs_of, script_of
from tests.running.processes import READY_SECONDS, Service, Stack, answers, processes_in, wait_until
from tests.running.projects import Project, require

pytestmark = pytest.mark.full

PATHS = ("/healthz", "/readyz", "/api/me")
ALL_WELL = {"/healthz": {200}, "/readyz": {200}, "/api/me": {200}}
NO_DATABASE = {"/healthz": {200}, "/readyz": {503}, "/api/me": {503}}

# What a run of a project's tests has begun when it is killed.
TESTS = """
import runpy, sys, time
print(runpy.run_path(sys.argv[1])["Databases"]().folder, flush=True)
time.sleep(600)
"""


# As few connections to the server as make its clients take turns; nothing is put right for them.
POOLER = """
[databases]
* = host={server} port=5432
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 3
"""


@pytest.fixture(scope="module")
def stack(postgresql_project: Project, postgresql: Any) -> Iterator[Stack]:
    with Stack(postgresql_project) as running:
        yield running


@pytest.fixture(scope="module")
def cookies(stack: Stack) -> dict[str, str]:
    """The cookies of a signed-in user, for every address."""
    return dict(stack.sign_in(*stack.add_user()))


def statuses(stack: Stack, cookies: dict[str, str]) -> dict[str, set[int]]:
    """What the processes answer at each path, all asked at once."""

    def ask(url: str) -> int:
        return httpx.get(url, cookies=cookies, timeout=20, trust_env=False).status_code

    with ThreadPoolExecutor() as pool:
        return {
            path: set(pool.map(ask, [f"{url}{path}" for url in stack.worker_urls]))
            for path in PATHS
        }


def assert_all_is_well(stack: Stack, cookies: dict[str, str], pids: dict[int, int]) -> None:
    """The processes that were there are ready again, and supervisord has not given up on any."""
    stack.wait_until(lambda: stack.ready, "every process is ready again")
    assert statuses(stack, cookies) == ALL_WELL
    assert stack.worker_pids() == pids
    assert "FATAL" not in stack.logs()["supervisord.log"]


def test_a_restart_of_the_server_restarts_no_process(
    stack: Stack, cookies: dict[str, str], postgresql: Any
) -> None:
    """While the server is down the processes live and say why; then all recover by themselves."""
    pids = stack.worker_pids()
    postgresql.stop()
    try:
        assert statuses(stack, cookies) == NO_DATABASE
    finally:
        postgresql.start()
    assert_all_is_well(stack, cookies, pids)


def test_a_hanging_server_stops_no_process(
    stack: Stack, cookies: dict[str, str], postgresql: Any
) -> None:
    """Every request gets an answer in time, none a success; all recover with the server."""
    pids = stack.worker_pids()
    postgresql.freeze()
    try:
        assert statuses(stack, cookies) == NO_DATABASE
    finally:
        postgresql.thaw()
    assert_all_is_well(stack, cookies, pids)


def test_processes_start_without_their_server(
    stack: Stack, cookies: dict[str, str], postgresql: Any
) -> None:
    """Started while the server is down they wait, not ready; supervisord gives up on none."""
    stack.stop_workers()
    postgresql.stop()
    try:
        stack.supervisor.startProcessGroup(stack.project.slug, True)
        pids = stack.worker_pids()
        stack.wait_until(
            lambda: all(answers(f"{url}/healthz") for url in stack.worker_urls),
            "all have started",
            seconds=READY_SECONDS,
        )
        assert statuses(stack, cookies) == NO_DATABASE
    finally:
        postgresql.start()
    assert_all_is_well(stack, cookies, pids)


def test_without_a_server_migrate_suggests_one(postgresql_project: Project) -> None:
    """Without a server `migrate` ends with the reason and the command that installs one."""
    url = "postgresql+psycopg://user:pass-word@/nothing?host=/nowhere"
    command = postgresql_project.program(postgresql_project.slug)
    done = postgresql_project.run(command, "migrate", DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stdout.startswith("The database cannot be used: ")
    assert "apt-get install postgresql" in done.stdout
    assert "pass-word" not in done.stdout


@pytest.fixture
def pooler(postgresql: Any, workshop: Path) -> Iterator[Path]:
    """The folder with the socket of Debian's pgBouncer, in transaction mode."""
    program = require("pgbouncer")
    folder = workshop / "pooler"
    folder.mkdir()
    (folder / "users").write_text('"tests" ""\n')
    (folder / "pgbouncer.ini").write_text(POOLER.format(server=postgresql.folder, folder=folder))
    # It refuses to run as root; Debian's PostgreSQL brings this user.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        workshop.chmod(0o711)
        shutil.chown(folder, user)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [program, folder / "pgbouncer.ini"], user=user, stdout=log, stderr=log
        )
    socket = folder / ".s.PGSQL.6432"
    wait_until(socket.exists, "it listens", evidence=(folder / "log").read_text)
    yield folder
    process.kill()
    process.wait()


def test_behind_a_pooler_in_transaction_mode(
    postgresql_project: Project, postgresql: Any, pooler: Path
) -> None:
    """Commands, and hundreds of requests of two processes, use three connections: no 500."""
    direct = postgresql.copy(postgresql.url("template1"))
    url = direct.replace(str(postgresql.folder), str(pooler)).replace("port=5432", "port=6432")
    url += "&prepare_threshold=None"
    project = postgresql_project
    command = project.program(project.slug)
    project.must(command, "migrate", DATABASE_URL=url)
    project.must(
        *(command, "user", "add", "ada", "--password-stdin"),
        typed="correct horse battery staple\n",
        DATABASE_URL=url,
    )
    with Service(project, free_first_port(), "--fork", "2", DATABASE_URL=url) as service:
        cookies = dict(service.sign_in("ada", "correct horse battery staple"))

        def ask(number: int) -> int:
            address = f"{service.url}{('/account', '/api/me', '/readyz')[number % 3]}"
            return httpx.get(address, cookies=cookies, timeout=20, trust_env=False).status_code

        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(ask, range(600))) == {200}
        project.must(command, "backup", "copy", DATABASE_URL=url, BACKUP_DATABASE_URL=direct)
        project.must(
            command, "restore", "--yes", "copy", DATABASE_URL=url, BACKUP_DATABASE_URL=direct
        )
        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(ask, range(60))) == {200}


@pytest.mark.parametrize("frozen", [False, True], ids=["working", "hanging"])
def test_the_tests_server_ends_with_them(
    postgresql: Any, postgresql_source: Path, *, frozen: bool
) -> None:
    """Neither the server nor its folder survives the project's tests, even if they are killed."""
    command = [sys.executable, "-c", TESTS, postgresql_source]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tests:
        folder = Path(tests.stdout.readline().strip())
        assert processes_in(folder)
        if frozen:
            server = int((folder / "data" / "postmaster.pid").read_text().split()[0])
            subprocess.run(["kill", "-STOP", f"{server}"], check=True)
        tests.kill()
    wait_until(
        lambda: not folder.exists() and not processes_in(folder),
        "the server has ended",
        evidence=lambda: f"{processes_in(folder)}",
    )


def test_all_rows_move_here_and_back(
    default_project: Project, postgresql_project: Project, postgresql: Any, tmp_path: Path
) -> None:
    """The rows of an SQLite project are those of a PostgreSQL project afterwards, and the way back.

    Accounts keep their passwords; a new one does not get the number of an old one.
    """
    small, large = default_project, postgresql_project
    places = [
        (small, f"sqlite+aiosqlite:///{tmp_path}/one.sqlite3"),
        (large, postgresql.url("moved")),
        (small, f"sqlite+aiosqlite:///{tmp_path}/two.sqlite3"),
    ]
    rows = []
    for number, (project, url) in enumerate(places):
        program = project.program(project.slug)
        project.must(program, "migrate", DATABASE_URL=url)
        if number:
            said = project.must(program, "import", f"{tmp_path}/{number - 1}", DATABASE_URL=url)
            assert f"{number:>9} users" in said
        add = (program, "user", "add", f"user{number}", "--password-stdin")
        project.must(*add, typed="correct horse battery", DATABASE_URL=url)
        project.must(program, "export", f"{tmp_path}/{number}", DATABASE_URL=url)
        lines = (tmp_path / f"{number}").read_text().splitlines()[:-1]
        rows.append({line for line in lines if line.startswith('["users"')})
    assert rows[0] < rows[1] < rows[2]
    numbers = [json.loads(line)[1]["id"] for line in rows[2]]
    assert sorted(numbers) == [1, 2, 3]


def test_the_lines_of_the_ci_pass(postgresql_project: Project) -> None:
    """Each line of the CI's jobs passes in a new project, its tests included."""
    project = postgresql_project
    git = ("git", "-c", "user.name=Nobody", "-c", "user.email=nobody@example.com")
    project.must(*git, "init", "--quiet", "--initial-branch", "main")
    project.must(*git, "add", "--all")
    jobs = jobs_of(project.folder)
    for line in script_of(jobs["check"]):
        # In a pipeline `check` ends with 3 where packages cannot be audited, as with some indexes.
        project.must("sh", "-ec", line, CI="")
