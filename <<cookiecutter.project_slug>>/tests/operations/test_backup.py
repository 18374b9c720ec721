"""Backup and restore of the database."""

import asyncio
import os
from pathlib import Path

import pytest
from sqlalchemy import select, text

from << cookiecutter.__package_name >> import cli
from << cookiecutter.__package_name >>.accounts.tables import User
from << cookiecutter.__package_name >>.database import Database
from << cookiecutter.__package_name >>.operations.backup import BackupError, backup, restore
from << cookiecutter.__package_name >>.settings import load_settings


def replaced(folder: Path) -> list[Path]:
    return list(folder.glob("replaced-*"))


async def names(database: Database) -> set[str]:
    async with database.transaction() as transaction:
        return set(await transaction.scalars(select(User.name)))


async def test_a_backup_restores_lost_data(database: Database, folder: Path) -> None:
    """A backup made while the service runs restores its data; later changes are gone."""
    url, file = load_settings().database_url, folder / "copy"
    await asyncio.to_thread(backup, url, file)
    assert file.stat().st_mode & 0o777 == 0o600
    async with database.transaction() as transaction:
        await transaction.execute(text("DELETE FROM users WHERE name = 'ada'"))
        await transaction.execute(text("CREATE TABLE later (id INTEGER)"))
    assert await names(database) == {"bob"}
    await asyncio.to_thread(restore, url, file)
    assert await names(database) == {"ada", "bob"}
    # A migration that made it could run again.
    async with database.transaction() as transaction:
        await transaction.execute(text("CREATE TABLE later (id INTEGER)"))


async def test_a_later_backup_replaces_the_previous_one(database: Database, folder: Path) -> None:
    """The new file replaces the old one when it is complete, and leaves nothing else."""
    file = folder / "copy"
    file.write_text("old")
    await asyncio.to_thread(backup, load_settings().database_url, file)
    assert file.read_bytes() != b"old"
    assert os.listdir(folder).count("copy.new") == 0  # noqa: PTH208 - it may block here


def test_a_backup_of_a_missing_database_is_refused(new_url: str, nowhere: Path) -> None:
    """Without a database no backup is made, and a previous one stays."""
    file = nowhere / "copy"
    file.write_text("old")
    with pytest.raises(BackupError):
        backup(new_url, file)
    assert file.read_text() == "old"
    assert [path.name for path in nowhere.iterdir()] == ["copy"]


async def test_restoring_a_wrong_file_changes_nothing(database: Database, folder: Path) -> None:
    """A file that is not a backup is refused, and the database stays as it is."""
    (folder / "wrong").write_text("this is no copy" * 1000)
    for name in ("wrong", "missing"):
        with pytest.raises(BackupError):
            await asyncio.to_thread(restore, load_settings().database_url, folder / name)
    assert await names(database) == {"ada", "bob"}


def test_backup_and_restore_are_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`backup FILE` and `restore FILE` report what they did, or in one line why not."""
    cli.run(["backup", "copy"])
    cli.run(["restore", "--yes", "copy"])
    (kept,) = replaced(folder)
    assert capsys.readouterr().out.splitlines() == [
        "Copied the database into copy.",
        f"What is in the database now is copied into {kept.name}.",
        "The database is as it was when copy was made.",
    ]
    with pytest.raises(SystemExit, match="missing"):
        cli.run(["restore", "--yes", "missing"])


async def test_a_restore_asks_and_can_be_taken_back(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a yes nothing changes; with one, what was replaced is in a file beside the copy."""
    await asyncio.to_thread(cli.run, ["backup", "copy"])
    async with database.transaction() as transaction:
        await transaction.execute(text("DELETE FROM users WHERE name = 'ada'"))
    with pytest.raises(SystemExit, match="--yes"):
        await asyncio.to_thread(cli.run, ["restore", "copy"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(SystemExit, match="Nothing has changed"):
        await asyncio.to_thread(cli.run, ["restore", "copy"])
    assert await names(database) == {"bob"}
    assert not replaced(folder)
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    await asyncio.to_thread(cli.run, ["restore", "copy"])
    assert await names(database) == {"ada", "bob"}
    (kept,) = replaced(folder)
    await asyncio.to_thread(cli.run, ["restore", "--yes", str(kept)])
    assert await names(database) == {"bob"}
