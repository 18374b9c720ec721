"""The migrations: they lead to the tables in the code, from wherever one starts."""

import asyncio
import shutil
from pathlib import Path

import pytest
from alembic.util import CommandError
from sqlalchemy import text

from << cookiecutter.__package_name >> import migrations
from << cookiecutter.__package_name >>.database import Database
from << cookiecutter.__package_name >>.engine import make_database
from << cookiecutter.__package_name >>.settings import load_settings


async def test_the_migrations_make_the_tables_of_the_code(new_url: str) -> None:
    """A new database has exactly the tables that the code describes; doing it twice is harmless."""
    for _ in range(2):
        await migrations.migrate(new_url)
    await migrations.check_migrations(new_url)


async def test_several_may_migrate_at_the_same_time(new_url: str) -> None:
    """Servers that are deployed to at once wait for each other, and all find the tables made."""
    await asyncio.gather(*(migrations.migrate(new_url) for _ in range(4)))
    await migrations.check_migrations(new_url)


async def test_a_difference_is_noticed_and_a_migration_for_it_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where tables and code differ the check says so, and `migrate --new` mends it."""
    copy = folder / "migrations"
    shutil.copytree(Path(migrations.__file__).parent, copy)
    monkeypatch.setattr(migrations, "__file__", str(copy / "__init__.py"))
    url = load_settings().database_url
    database = Database(url)
    async with database.transaction() as transaction:
        await transaction.execute(text("DROP INDEX ix_sessions_user_id"))
    await database.close()

    with pytest.raises(CommandError):
        await migrations.check_migrations(url)
    await migrations.write_migration(url, "Find the sessions of a user")
    (written,) = copy.glob("versions/*_find_the_sessions_of_a_user.py")
    assert written.read_text().startswith('"""Find the sessions of a user."""\n')
    await migrations.migrate(url)
    await migrations.check_migrations(url)


async def test_an_old_database_is_not_taken_for_a_new_one(new_url: str) -> None:
    """A database that lacks migrations fails the check, and so a deploy that forgot them."""
    make_database(new_url)
    with pytest.raises(CommandError):
        await migrations.check_migrations(new_url)


async def test_the_release_before_goes_on_with_the_new_schema(new_url: str) -> None:
    """While a release replaces another one, the old one writes what it knows."""
    await migrations.migrate(new_url)
    database = Database(new_url)
    async with database.transaction() as transaction:
        for statement in (
            "INSERT INTO users (name, password_hash, created_at) VALUES ('eve', '', '2025-01-01')",
            "INSERT INTO attempts (subject, at) VALUES ('name eve', '2025-01-01')",
        ):
            await transaction.execute(text(statement))
    await database.close()
