"""The database: its base class for tables, its transactions, and whether it can be reached."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

from sqlalchemy import MetaData, make_url, text
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase

from .engine import MOMENT, check_options, make_engine, take_lock

# What a database that is away, full or locked raises, as opposed to a fault in the code.
DATABASE_ERRORS = (InterfaceError, OperationalError, PoolTimeoutError)


def readable_url(url: str) -> str:
    """Return the URL of a database. Raises ValueError if it cannot be one, without showing it."""
    try:
        make_url(url)
    except (ArgumentError, ValueError):
        # Their messages may show a part of the password.
        raise ValueError("it cannot be read; in a password, write @ : / as %40 %3A %2F") from None
    check_options(url)
    return url


def reason(error: BaseException) -> str:
    """Say in one line what is the matter, without the statement that found it out."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


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
    type_annotation_map = {datetime: MOMENT}  # noqa: RUF012


class Database:
    """The connections of one process to the database at an SQLAlchemy URL.

    Making one connects to nothing: a process starts, unready, while its database is away.
    """

#% if cookiecutter.database == "sqlite"
    def __init__(self, url: str) -> None:
        self.engine = self._ping_engine = make_engine(url)
#% else
    def __init__(self, url: str, connections: int | None = None) -> None:
        # One is kept for the ping: requests that queue for connections do not make it wait.
        kept = 1 if connections and connections > 1 else 0
        self.engine = make_engine(url, connections and connections - kept)
        self._ping_engine = make_engine(url, kept) if kept else self.engine
#% endif
        self._new_session = async_sessionmaker(self.engine, expire_on_commit=False)

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Begin a transaction: `async with database.transaction() as session`.

        It commits at the end of the block and rolls back when the block raises.
        """
        return self._new_session.begin()

    @asynccontextmanager
    async def lock(self, name: str) -> AsyncIterator[AsyncSession]:
        """Begin a transaction that holds the lock of this name; one at a time, in any process.

        For what is read first and written then, which two must not do at the same time.
        """
        async with self.transaction() as transaction:
            await take_lock(await transaction.connection(), name)
            yield transaction

    async def ping(self) -> None:
        """Return if the database answers and has its tables; else raise one of DATABASE_ERRORS."""
        async with self._ping_engine.connect() as connection:
            await connection.execute(text("SELECT version_num FROM alembic_version"))

    async def close(self) -> None:
        await self.engine.dispose()
        await self._ping_engine.dispose()
