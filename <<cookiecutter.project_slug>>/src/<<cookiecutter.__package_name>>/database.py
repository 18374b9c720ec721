"""The database: the base class of tables, transactions, locks, and the ping."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

from sqlalchemy import MetaData, make_url, text
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase

from .engine import MOMENT, check_options, make_engine, take_lock

# Raised when the database is unavailable, full or locked, as opposed to a fault in the code.
DATABASE_ERRORS = (InterfaceError, OperationalError, PoolTimeoutError)


def readable_url(url: str) -> str:
    """Return a database URL if it is valid. Raises ValueError, which does not show the URL."""
    try:
        make_url(url)
    except (ArgumentError, ValueError):
        # Their messages may show a part of the password.
        raise ValueError("it cannot be read; in a password, write @ : / as %40 %3A %2F") from None
    check_options(url)
    return url


def reason(error: BaseException) -> str:
    """Return the cause of an error in one line, without the SQL statement."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


class Base(DeclarativeBase):
    """The base class of all tables, with named constraints that migrations can refer to."""

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

    Creating one opens no connection: a process starts, unready, while its database is down.
    """

#% if cookiecutter.database == "sqlite"
    def __init__(self, url: str) -> None:
        self.engine = self._ping_engine = make_engine(url)
#% else
    def __init__(self, url: str, connections: int | None = None) -> None:
        # One is reserved for the ping, which then never waits behind requests.
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
        """Begin a transaction that holds the lock of this name, across all processes.

        Use it to read first and write then, where two at the same time would be wrong.
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
