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
<% if cookiecutter.sign_in == "passwords" %>
    return User(name=name, password_hash="", created_at=created_at or datetime.now(UTC))
<% else %>
    made = created_at or datetime.now(UTC)
    return User(issuer="", subject=name, name=name, email="", created_at=made)
<% endif %>


async def test_a_transaction_is_atomic(database: Database) -> None:
    """A block's changes stay if it ends well, and are rolled back if it raises."""

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


async def test_times_keep_their_moment(database: Database) -> None:
    """A time is stored as UTC, from any zone, and read as aware."""
    moment = datetime(2025, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=9)))
    async with database.transaction() as transaction:
        transaction.add(user("tokyo", moment))
    async with database.transaction() as transaction:
        read = await transaction.scalar(select(User.created_at).where(User.name == "tokyo"))
    assert read == moment
    assert read is not None
    assert read.utcoffset() == timedelta(0)


async def test_sessions_are_deleted_with_their_user(database: Database) -> None:
    """Deleting a user deletes their sessions."""
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
#% if cookiecutter.sign_in == "sso"
                id_token="",
#% endif
            )
        )
    async with database.transaction() as transaction:
        await transaction.execute(text("DELETE FROM users WHERE name = 'gone'"))
        assert await transaction.scalar(select(func.count()).select_from(Session)) == 0


async def test_the_ping_fails_without_tables(new_url: str) -> None:
    """A database that was never migrated counts as unavailable."""
    make_database(new_url)
    database = Database(new_url)
    with pytest.raises(OperationalError, match=r"no such table|does not exist"):
        await database.ping()
    await database.close()


async def test_a_cancelled_ping_leaves_nothing_behind(database: Database) -> None:
    """Cancelled at any step, it leaves no connection checked out and no lock held."""
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
        await transaction.execute(text("DELETE FROM sessions"))


async def test_a_lock_is_exclusive(database: Database) -> None:
    """A read followed by a write runs alone, across processes."""
    inside = 0

    async def enter() -> None:
        nonlocal inside
        async with database.lock("test") as transaction:
            inside += 1
            assert inside == 1
            await transaction.scalar(select(func.count()).select_from(User))
            inside -= 1

    await asyncio.gather(*(enter() for _ in range(20)))
