"""The database: transactions, locks and times."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from << cookiecutter.__package_name >>.accounts.tables import Session, User
from << cookiecutter.__package_name >>.database import Database
from << cookiecutter.__package_name >>.engine import make_database


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
        read = await transaction.scalar(select(User.created_at).where(User.name == "tokyo"))
    assert read == moment
    assert read is not None
    assert read.utcoffset() == timedelta(0)


async def test_the_sessions_go_with_their_user(database: Database) -> None:
    """Deleting a user leaves no session behind."""
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


async def test_a_database_without_tables_does_not_answer_the_ping(new_url: str) -> None:
    """One that was never migrated is as good as none."""
    make_database(new_url)
    database = Database(new_url)
    with pytest.raises(OperationalError, match=r"no such table|does not exist"):
        await database.ping()
    await database.close()


async def test_a_ping_that_is_cancelled_leaves_nothing_behind(database: Database) -> None:
    """At whatever step it is given up, no connection stays out, and no lock in the way of others."""
    url = database.engine.url.render_as_string(hide_password=False)
    cancelled = 0
    # As many steps of the event loop as it takes on a new connection, and on one from the pool.
    for steps in range(40):
        new = Database(url)
        for asked in (new, database):
            ping = asyncio.create_task(asked.ping())
            for _ in range(steps):
                await asyncio.sleep(0.0002)
            cancelled += ping.cancel()
            await asyncio.wait([ping])
        await new.close()
    assert cancelled
    status = database.engine.pool.status()
    assert "Checked out connections: 0" in status or status == "NullPool"
    async with asyncio.timeout(5), database.lock("test") as transaction:
        await transaction.execute(text("DELETE FROM attempts"))


async def test_one_at_a_time_holds_a_lock(database: Database) -> None:
    """What reads first and writes then does so alone, in whatever process."""
    inside = 0

    async def enter() -> None:
        nonlocal inside
        async with database.lock("test") as transaction:
            inside += 1
            assert inside == 1
            await transaction.scalar(select(func.count()).select_from(User))
            inside -= 1

    await asyncio.gather(*(enter() for _ in range(20)))
