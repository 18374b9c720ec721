"""The migrations: they lead from any earlier schema to the tables in the code."""

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


async def test_migrations_create_the_tables_of_the_code(new_url: str) -> None:
    """A new database has exactly the tables in the code; migrating twice is harmless."""
    for _ in range(2):
        await migrations.migrate(new_url)
    await migrations.check_migrations(new_url)


async def test_simultaneous_migrations_wait_for_each_other(new_url: str) -> None:
    """Deploys to several servers at once wait for each other, and all find the tables."""
    await asyncio.gather(*(migrations.migrate(new_url) for _ in range(4)))
    await migrations.check_migrations(new_url)


async def test_a_difference_gets_a_new_migration(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check reports tables that differ from the code; `migrate --new` writes the migration."""
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


async def test_a_database_with_missing_migrations_fails_the_check(new_url: str) -> None:
    """A deploy that skipped the migrations fails the check."""
    make_database(new_url)
    with pytest.raises(CommandError):
        await migrations.check_migrations(new_url)


async def test_the_previous_release_works_with_the_new_schema(new_url: str) -> None:
    """During a deploy the old release still writes to the migrated database."""
    await migrations.migrate(new_url)
    database = Database(new_url)
    async with database.transaction() as transaction:
        for statement in (
#% if cookiecutter.sign_in == "passwords"
            "INSERT INTO users (name, password_hash, created_at) VALUES ('eve', '', '2025-01-01')",
            "INSERT INTO attempts (subject, at) VALUES ('name eve', '2025-01-01')",
#% else
            "INSERT INTO users (issuer, subject, name, email, created_at)"
            " VALUES ('https://login.example.com', 'eve', 'Eve', '', '2025-01-01')",
#% endif
        ):
            await transaction.execute(text(statement))
    await database.close()
