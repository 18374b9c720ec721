"""The checks on files and folders."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

#% if cookiecutter.database == "sqlite"
from << cookiecutter.__package_name >>.engine import make_database
#% endif
from << cookiecutter.__package_name >>.operations.checks import Finding, files
from << cookiecutter.__package_name >>.settings import Settings, load_settings

from ...conftest import SECRET


def found(check: Callable[[Settings], Iterator[Finding]]) -> list[tuple[str, str]]:
    """Return the ids and severities of a check's findings."""
    return [(finding.id, finding.severity) for finding in check(load_settings())]


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    """Other users can reach the test's folder, which pytest denies them."""
    above = set(nowhere.resolve().parents)
    stat = Path.stat

    def open_stat(self: Path, **options: Any) -> Any:
        status = stat(self, **options)
        return SimpleNamespace(st_mode=0o755, st_uid=0, st_gid=0) if self in above else status

    monkeypatch.setattr(Path, "stat", open_stat)
    nowhere.chmod(0o755)


@pytest.fixture
def members(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The users in every group."""
    members = {os.geteuid()}
    monkeypatch.setattr(files, "group_members", lambda group: frozenset(members))
    return members


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o602, 1), (0o666, 1)],
)
@pytest.mark.parametrize("name", [".env", "deploy/inventory/production.env"])
def test_an_open_file_of_secrets_is_found(
    folder: Path, name: str, mode: int, expected: int
) -> None:
    """F001: only the owner may read or change `.env` and the settings of servers."""
    (folder / ".env").chmod(0o600)
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    file.chmod(mode)
    assert found(files.settings_files) == [("F001", "error")] * expected


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("RELEASE=1\n", 0o644, 0),
        ("RELEASE=1\n", 0o646, 1),
        (f"COOKIE_SECRET={SECRET}\n", 0o644, 1),
        (f"cookie_secret={SECRET}\n", 0o600, 0),
    ],
    ids=["of a deploy", "writable", "with a secret", "private"],
)
def test_an_open_file_that_overrides_env_is_found(
    folder: Path, text: str, mode: int, expected: int
) -> None:
    """F001: a user who can write `.env.release` replaces the secret."""
    (folder / ".env").chmod(0o600)
    (folder / ".env.release").write_text(text)
    (folder / ".env.release").chmod(mode)
    assert found(files.settings_files) == [("F001", "error")] * expected


<% if cookiecutter.database == "sqlite" %>
@pytest.mark.parametrize(
    ("mode", "rights"),
    [
        (0o600, ""),
        (0o640, ""),
        (0o660, "change"),
        (0o644, "read"),
        (0o602, "change"),
        (0o666, "read and change"),
    ],
)
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_an_open_database_is_found(
    folder: Path, reached: None, members: set[int], suffix: str, mode: int, rights: str
) -> None:
    """F002: only the service's user may access the database and SQLite's files beside it."""
    url = "sqlite+aiosqlite:///var/test.sqlite3"
    (folder / ".env").write_text(f"COOKIE_SECRET={SECRET}\nDATABASE_URL={url}\n")
    make_database(url)
    (folder / "var").chmod(0o755)
    assert list(files.database_file(load_settings())) == []
    members.add(os.geteuid() + 1)
    file = folder / f"var/test.sqlite3{suffix}"
    file.touch()
    file.chmod(mode)
    findings = list(files.database_file(load_settings()))
    assert [finding.id for finding in findings] == ["F002"] * bool(rights)
    assert all(finding.severity == "error" for finding in findings)
    assert all(f"can {rights} the database" in finding.problem for finding in findings)
    (folder / "var").chmod(0o700)
    assert list(files.database_file(load_settings())) == []


<% endif %>
def test_members_of_a_group_are_others(folder: Path, members: set[int]) -> None:
    """A user's own group grants nothing to others; a group with another member does."""
    file = folder / "file"
    file.touch(mode=0o660)
    file.chmod(0o660)
    assert not files.others_may(file, files.WRITE)
    members.add(os.geteuid() + 1)
    assert files.others_may(file, files.WRITE)
    assert not files.others_may(folder / "gone", files.WRITE)


def test_the_members_of_a_group_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group's members are those it lists and those with it as first group, without root."""
    users = [("root", 0, 0), ("ada", 1, 7), ("bob", 2, 2), ("eve", 3, 3)]
    entries = [SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=gid) for name, uid, gid in users]
    monkeypatch.setattr("pwd.getpwall", lambda: entries)
    monkeypatch.setattr("grp.getgrgid", {7: SimpleNamespace(gr_mem=["bob", "root"])}.__getitem__)
    files.group_members.cache_clear()
    assert [files.group_members(group) for group in (0, 2, 7, 8)] == [set(), {2}, {1, 2}, set()]
    files.group_members.cache_clear()


@pytest.mark.parametrize(
    "name", [".env", "production.env", "deploy/inventory/test.env", ".env.release", "a/.env.local"]
)
def test_settings_in_git_are_found(folder: Path, name: str) -> None:
    """F003: git tracks a file of settings, in any folder and with any name before .env."""

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], check=True, capture_output=True)

    assert found(files.tracked_files) == []
    git("init")
    (folder / ".env.example").touch()
    git("add", "--force", ".env.example")
    assert found(files.tracked_files) == []
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    git("add", "--force", name)
    (finding,) = files.tracked_files(load_settings())
    assert (finding.id, finding.severity) == ("F003", "error")
    assert f"git tracks {name}," in finding.problem


def test_settings_in_a_repository_above_are_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F003: the repository may contain more than this project."""
    subprocess.run(["git", "init"], check=True, capture_output=True)
    project = folder / "project"
    project.mkdir()
    (folder / ".env").rename(project / ".env")
    monkeypatch.chdir(project)
    assert found(files.tracked_files) == []
    subprocess.run(["git", "add", "--force", ".env"], check=True, capture_output=True)
    assert found(files.tracked_files) == [("F003", "error")]


@pytest.mark.parametrize("missing", [True, False], ids=["no git", "no repository for git"])
def test_a_failing_git_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, missing: bool
) -> None:
    """F006: git is missing, or refuses another user's repository."""
    (folder / ".git").mkdir()
    if missing:
        monkeypatch.setenv("PATH", str(folder))
    assert found(files.tracked_files) == [("F006", "unchecked")]


@pytest.mark.parametrize("name", ["backups/before-1", "backup", "log/service.log"])
def test_open_backups_and_logs_are_found(
    folder: Path, reached: None, members: set[int], name: str
) -> None:
    """F004: a backup contains everything in the database."""
    file = folder / "var" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    (folder / "var/stack.pid").touch(mode=0o644)
    assert found(files.data_files) == []
    file.touch()
    file.chmod(0o644)
    (finding,) = files.data_files(load_settings())
    assert (finding.id, finding.severity) == ("F004", "error")
    assert f"can read {file}." in finding.problem
    file.with_name("more.log").touch(mode=0o644)
    (finding,) = files.data_files(load_settings())
    assert "and 1 more in var/" in finding.problem
    (folder / "var").chmod(0o750)
    assert found(files.data_files) == []


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
@pytest.mark.parametrize("where", [".", "project", "shared", "shared/var"])
def test_a_folder_that_others_can_write_is_found(
    folder: Path,
    reached: None,
    members: set[int],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    mode: int,
) -> None:
    """F005: the project, targets of its links, and all folders above; /tmp is safe for them."""
    for name in ("project", "shared", "shared/var"):
        (folder / name).mkdir()
    (folder / ".env").rename(folder / "shared/.env")
    for name in (".env", "var"):
        (folder / "project" / name).symlink_to(f"../shared/{name}")
    monkeypatch.chdir(folder / "project")
    assert found(files.folders) == []

    members.add(os.geteuid() + 1)
    (folder / where).chmod(mode)
    only_above = where == "."
    expected = not (only_above and mode == 0o1777)
    findings = list(files.folders(load_settings()))
    assert [(one.id, one.severity) for one in findings] == [("F005", "error")] * expected
    assert all(f"write into {(folder / where).resolve()}, " in one.problem for one in findings)


def test_a_closed_folder_protects_its_content(folder: Path, reached: None) -> None:
    """Other users cannot change what they cannot reach."""
    (folder / "var").mkdir(mode=0o777)
    (folder / "var").chmod(0o777)
    assert found(files.folders) == [("F005", "error")]
    folder.chmod(0o700)
    assert found(files.folders) == []
