"""The schema of the database, as a sequence of migrations."""

import io
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from ..database import Database
from ..engine import lock_schema, make_database


async def migrate(url: str) -> None:
    """Upgrade the database at this URL to the newest schema; create it if it does not exist.

    Simultaneous migrations wait for each other.
    """
    make_database(url)
    await _run(url, lambda config: command.upgrade(config, "head"), alone=True)


async def write_migration(url: str, message: str) -> None:
    """Write a new migration: the difference between the tables in the code and the database."""
    await _run(url, lambda config: command.revision(config, message, autogenerate=True))


async def check_migrations(url: str) -> None:
    """Raise alembic's CommandError unless the tables in the code are those in the database."""

    def check(config: Config) -> None:
        # It says so where there is nothing to say.
        config.stdout = io.StringIO()
        command.check(config)

    await _run(url, check)


async def pending_migrations(url: str) -> list[str]:
    """Return the newest migrations that the database at this URL does not have."""
    wanted: list[str] = []

    def compare(config: Config) -> None:
        newest = ScriptDirectory.from_config(config).get_heads()
        connection = config.attributes["connection"]
        have = MigrationContext.configure(connection).get_current_heads()
        wanted.extend(revision for revision in newest if revision not in have)

    await _run(url, compare)
    return wanted


async def _run(
    url: str, alembic_command: Callable[[Config], object], *, alone: bool = False
) -> None:
    config = Config()
    folder = str(Path(__file__).parent)
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")

    def run(connection: Connection) -> None:
        config.attributes["connection"] = connection
        alembic_command(config)

    database = Database(url)
    try:
        async with database.engine.begin() as connection:
            if alone:
                await lock_schema(connection)
            await connection.run_sync(run)
    finally:
        await database.close()
