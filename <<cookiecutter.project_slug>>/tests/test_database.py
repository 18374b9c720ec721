"""The database: transactions, times, and what SQLite is told."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from << cookiecutter.__package_name >>.accounts.tables import Session, User
from << cookiecutter.__package_name >>.database import Database, prepare_folder


def user(name: str, created_at: datetime | None = None) -> User:
    return User(name=name, password_hash="", created_at=created_at or datetime.now(UTC))


async def test_a_transaction_is_kept_whole_or_not_at_all(database: Database) -> None:
    """What a block did is there afterwards if it ended well, and gone if it raised."""

    async def add(name: str, divisor: int) -> None:
        async with database.transaction() as transaction:
            transaction.add(user(name))
            await transaction.flush()
            1 / divisor

    await add("kept", 1)
    with pytest.raises(ZeroDivisionError):
        await add("lost", 0)
    async with database.transaction() as transaction:
        names = set(await transaction.scalars(select(User.name)))
    assert names == {"ada", "bob", "kept"}


async def test_times_come_back_aware_and_the_same(database: Database) -> None:
    """A moment is stored as UTC, whatever zone it came in."""
    moment = datetime(2025, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=9)))
    async with database.transaction() as transaction:
        transaction.add(user("tokyo", moment))
    async with database.transaction() as transaction:
        stored = await transaction.scalar(text("SELECT created_at FROM users WHERE name = 'tokyo'"))
        read = await transaction.scalar(select(User.created_at).where(User.name == "tokyo"))
    assert stored == "2025-01-01 18:04:05.000006"
    assert read == moment
    assert read is not None
    assert read.tzinfo is UTC


async def test_sqlite_is_told_to_behave(database: Database) -> None:
    """Several processes can share the file, and references are checked."""
    async with database.transaction() as transaction:
        for pragma, value in (("journal_mode", "wal"), ("foreign_keys", 1), ("busy_timeout", 5000)):
            assert await transaction.scalar(text(f"PRAGMA {pragma}")) == value


async def test_the_sessions_go_with_their_user(database: Database) -> None:
    """Whoever deletes a user leaves no session behind."""
    now = datetime.now(UTC)
    async with database.transaction() as transaction:
        gone = user("gone")
        transaction.add(gone)
        await transaction.flush()
        transaction.add(
            Session(
                token_digest=b"",
                user_id=gone.id,
                created_at=now,
                seen_at=now,
                address="",
                user_agent="",
            )
        )
    async with database.transaction() as transaction:
        await transaction.execute(text("DELETE FROM users WHERE name = 'gone'"))
        assert await transaction.scalar(select(func.count()).select_from(Session)) == 0


async def test_a_database_without_tables_does_not_answer_the_ping(nowhere: Path) -> None:
    """A file that was never migrated is as good as none."""
    database = Database("sqlite+aiosqlite:///empty.sqlite3")
    with pytest.raises(OperationalError):
        await database.ping()
    await database.close()


def test_the_folder_of_an_sqlite_file_is_made(nowhere: Path) -> None:
    """A path that leads through new folders is no obstacle; what has no folder needs none."""
    for _ in range(2):
        prepare_folder("sqlite+aiosqlite:///a/b/file.sqlite3")
    prepare_folder("sqlite+aiosqlite://")
    prepare_folder("sqlite+aiosqlite:///:memory:")
    prepare_folder("postgresql+asyncpg://host/name")
    assert [path.name for path in nowhere.rglob("*")] == ["a", "b"]
