"""A copy of the database, and the way back."""

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


async def names(database: Database) -> set[str]:
    async with database.transaction() as transaction:
        return set(await transaction.scalars(select(User.name)))


async def test_what_is_lost_comes_back_from_the_copy(database: Database, folder: Path) -> None:
    """A copy made while the service runs brings back what was there; what came later is gone."""
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


async def test_a_later_copy_replaces_the_one_before(database: Database, folder: Path) -> None:
    """A file of that name is replaced when the new copy is whole, and nothing else is left."""
    file = folder / "copy"
    file.write_text("old")
    await asyncio.to_thread(backup, load_settings().database_url, file)
    assert file.read_bytes() != b"old"
    assert os.listdir(folder).count("copy.new") == 0  # noqa: PTH208 - it may block here


def test_a_copy_of_nothing_is_refused(new_url: str, nowhere: Path) -> None:
    """Without a database there is no copy, and one of before stays."""
    file = nowhere / "copy"
    file.write_text("old")
    with pytest.raises(BackupError):
        backup(new_url, file)
    assert file.read_text() == "old"
    assert [path.name for path in nowhere.iterdir()] == ["copy"]


async def test_what_is_no_copy_changes_nothing(database: Database, folder: Path) -> None:
    """A wrong file is refused, and the database stays as it is."""
    (folder / "wrong").write_text("this is no copy" * 1000)
    for name in ("wrong", "missing"):
        with pytest.raises(BackupError):
            await asyncio.to_thread(restore, load_settings().database_url, folder / name)
    assert await names(database) == {"ada", "bob"}


def test_both_are_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`backup FILE` and `restore FILE` say what they did, or in one line why not."""
    cli.run(["backup", "copy"])
    cli.run(["restore", "copy"])
    assert capsys.readouterr().out.splitlines() == [
        "Copied the database into copy.",
        "The database is as it was when copy was made.",
    ]
    with pytest.raises(SystemExit, match="missing"):
        cli.run(["restore", "missing"])
