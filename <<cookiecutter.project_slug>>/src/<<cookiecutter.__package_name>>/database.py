"""The database: its engine, its base class for tables, and whether it can be reached."""

import sqlite3
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import DateTime, MetaData, event, make_url, text
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

# What a database that is away, full or locked raises, as opposed to a fault in the code.
UNAVAILABLE = (InterfaceError, OperationalError, PoolTimeoutError)

SQLITE_PRAGMAS = (
    # Readers and the one writer do not wait for each other.
    "PRAGMA journal_mode=WAL",
    # Safe with WAL; only a power cut can lose the last commits, never the file.
    "PRAGMA synchronous=NORMAL",
    # A second writer, in another process, waits this many milliseconds instead of failing.
    "PRAGMA busy_timeout=5000",
    "PRAGMA foreign_keys=ON",
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in time: aware in Python, UTC in the database, whatever the database knows."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """What every table inherits; named constraints, so that migrations can find them again."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012


class Database:
    """The connections of one process to the database at an SQLAlchemy URL.

    Making one connects to nothing: a process starts, unready, while its database is away.
    """

    def __init__(self, url: str) -> None:
        # Errors are logged, and no password's hash belongs there.
        self.engine = create_async_engine(url, pool_pre_ping=True, hide_parameters=True)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
        self._new_session = async_sessionmaker(self.engine, expire_on_commit=False)

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Begin a transaction: `async with database.transaction() as session`.

        It commits at the end of the block and rolls back when the block raises.
        """
        return self._new_session.begin()

    async def ping(self) -> None:
        """Return if the database answers and has its tables; otherwise raise one of UNAVAILABLE."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT version_num FROM alembic_version"))

    async def close(self) -> None:
        await self.engine.dispose()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    try:
        cursor = connection.cursor()
        for pragma in SQLITE_PRAGMAS:
            cursor.execute(pragma)
        cursor.close()
    except sqlite3.DatabaseError as error:
        # The file is damaged, or no database: it cannot be used, as if it were away.
        connection.close()
        raise sqlite3.OperationalError(str(error)) from error


def prepare_folder(url: str) -> None:
    """Make the folder of an SQLite file; other databases need none."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        Path(str(parsed.database)).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
