"""The cookie secret is only in .env and in the memory of the processes."""

import contextlib
import re
import stat
from pathlib import Path

import httpx
import pytest

from tests.running.processes import Stack, processes_in

pytestmark = pytest.mark.full

NEVER_READ = {".venv", "node_modules"}


@pytest.fixture
def secret(stack: Stack) -> bytes:
    """The cookie secret of a stack that has been in use."""
    stack.sign_in(*stack.add_user())
    env = (stack.project.folder / ".env").read_text()
    (secret,) = re.findall(r"^COOKIE_SECRET=\d+:(\S+)$", env, re.MULTILINE)
    assert len(secret) >= 32
    return secret.encode()


def test_no_process_shows_the_secret(stack: Stack, secret: bytes) -> None:
    """Command lines and environments do not contain it, and supervisord does not have it."""
    pids = processes_in(stack.project.folder)
    assert len(pids) > len(stack.worker_ports)
    for pid, command in pids.items():
        with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
            for file in ("cmdline", "environ"):
                assert secret not in Path(f"/proc/{pid}/{file}").read_bytes(), command
    assert secret not in str(stack.supervisor.getAllProcessInfo()).encode()
    assert secret not in str(stack.supervisor.getAllConfigInfo()).encode()


def test_no_answer_contains_the_secret(stack: Stack, secret: bytes) -> None:
    """Pages, errors, probes and metrics do not contain it."""
    for url in [stack.url, *stack.worker_urls]:
        for path in ("/", "/login", "/metrics", "/readyz", "/nothing", "/api/nothing", "/.env"):
            answer = httpx.get(url + path, trust_env=False)
            assert secret not in answer.content + str(answer.headers).encode(), url + path


def test_no_file_that_others_can_read_holds_the_secret(stack: Stack, secret: bytes) -> None:
    """It is in .env alone, which is its owner's: in no log, no database, no other file."""
    folder = stack.project.folder
    holders = {
        path.relative_to(folder).as_posix(): path.stat().st_mode
        for path in folder.rglob("*")
        if not NEVER_READ & set(path.parts) and path.is_file() and secret in path.read_bytes()
    }
    assert holders.keys() == {".env"}
    assert not holders[".env"] & (stat.S_IRWXG | stat.S_IRWXO)


def test_git_adds_no_secret(stack: Stack, secret: bytes) -> None:
    """Files that `git add --all` would add do not contain it."""
    if not (stack.project.folder / ".git").exists():
        stack.project.must("git", "init", "--quiet")
    files = stack.project.must("git", "ls-files", "--cached", "--others", "--exclude-standard")
    assert "README.md" in files.splitlines()
    for name in files.splitlines():
        assert secret not in (stack.project.folder / name).read_bytes(), name
