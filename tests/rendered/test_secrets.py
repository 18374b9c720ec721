"""The secret of a new project: strong, private, kept, and nowhere else."""

import base64
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bake import TEMPLATE, bake, files_of


def git(project: Path, *arguments: str | Path) -> list[str]:
    done = subprocess.run(
        ["git", *arguments], cwd=project, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def secret_of(project: Path) -> str:
    (line,) = [
        line
        for line in (project / ".env").read_text(encoding="utf-8").splitlines()
        if line.startswith("COOKIE_SECRET=")
    ]
    version, secret = line.removeprefix("COOKIE_SECRET=").split(":")
    assert version.isdigit()
    return secret


def test_the_secret_is_strong_and_new_each_time(tmp_path: Path) -> None:
    """Each project gets its own 48 random bytes."""
    secrets = [secret_of(bake(tmp_path / name)) for name in ("one", "two")]
    assert secrets[0] != secrets[1]
    assert [len(base64.urlsafe_b64decode(secret)) for secret in secrets] == [48, 48]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_secret_is_private(umask: int, terminal: Callable[..., object], tmp_path: Path) -> None:
    """Only the owner can read .env, whatever the umask is."""
    made = terminal(TEMPLATE, "--no-input", "-o", tmp_path / "out", umask=umask)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "out" / "my-service" / ".env").stat().st_mode & 0o777 == 0o600


def test_generating_again_keeps_the_secret(tmp_path: Path) -> None:
    """Generating a project again replaces its files and keeps its .env."""
    project = bake(tmp_path)
    with (project / ".env").open("a") as env:
        env.write("LOG_LEVEL=debug\n")
    before = (project / ".env").read_bytes()
    bake(tmp_path, again=True, description="Another description")
    assert (project / ".env").read_bytes() == before
    assert "Another description" in (project / "pyproject.toml").read_text(encoding="utf-8")


def test_git_tracks_no_secret(combination: Path, tmp_path: Path) -> None:
    """The files that git would track contain neither the secret nor a value for it."""
    project = combination
    secret = secret_of(project)
    git(tmp_path, "init", "--quiet")
    beside = ("--git-dir", tmp_path / ".git", "--work-tree", project)
    tracked = [
        line.removeprefix("add '").removesuffix("'")
        for line in git(project, *beside, "add", "--all", "--dry-run")
    ]
    assert ".env.example" in tracked
    assert ".gitignore" in tracked
    assert ".env" not in tracked
    assert set(tracked) == files_of(project).keys() - {".env"}
    for name in tracked:
        content = (project / name).read_text(encoding="utf-8", errors="replace")
        assert secret not in content, name
        assert not re.search(r"COOKIE_SECRET=\d+:[\w-]{32,}", content), name


def test_git_ignores_files_of_run_time(tmp_path: Path) -> None:
    """Secrets, databases, logs and environments never show up as new files."""
    project = bake(tmp_path)
    git(project, "init", "--quiet")
    made = [".env", ".venv/x", "var/my_service.sqlite3", "var/log/x.log", "src/x/__pycache__/x.pyc"]
    assert git(project, "check-ignore", *made) == made


def test_the_example_names_the_secret_without_one(project: Path) -> None:
    """The example of .env names COOKIE_SECRET without a value."""
    example = (project / ".env.example").read_text(encoding="utf-8")
    (line,) = re.findall(r"^.*COOKIE_SECRET=.*$", example, re.MULTILINE)
    assert re.fullmatch(r"#? ?COOKIE_SECRET=", line)
