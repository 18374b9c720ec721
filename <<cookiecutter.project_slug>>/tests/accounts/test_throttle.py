"""How often a password may be tried."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from << cookiecutter.__package_name >>.accounts import Busy, Throttled, throttle
from << cookiecutter.__package_name >>.accounts.tables import Attempt
from << cookiecutter.__package_name >>.accounts.throttle import (
    NETWORKS,
    OPEN_SECONDS,
    PER_ADDRESS,
    PER_NAME,
    WINDOW,
    LoginThrottle,
)
from << cookiecutter.__package_name >>.database import Database

ADDRESS = "192.0.2.1"


@pytest.fixture
def attempts(database: Database) -> LoginThrottle:
    return LoginThrottle(database)


async def fail(attempts: LoginThrottle, name: str, address: str) -> None:
    async with attempts.sign_in(name, address):
        pass


async def succeed(attempts: LoginThrottle, name: str, address: str) -> None:
    async with attempts.sign_in(name, address) as attempt:
        attempt.succeeded = True


async def count(database: Database) -> int:
    async with database.transaction() as transaction:
        return await transaction.scalar(select(func.count()).select_from(Attempt)) or 0


async def set_time(database: Database, at: datetime) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(update(Attempt).values(at=at))


async def test_an_account_stands_so_many_attempts(attempts: LoginThrottle) -> None:
    """After ten failures within a quarter of an hour an account takes no more, from anywhere."""
    for n in range(PER_NAME):
        await fail(attempts, "ada", f"192.0.2.{n}")
    with pytest.raises(Throttled, match=r"Too many attempts\. Try again in 15 minutes"):
        await fail(attempts, "ada", "198.51.100.1")
    await fail(attempts, "bob", ADDRESS)


async def test_an_address_has_so_many_attempts(attempts: LoginThrottle) -> None:
    """One password tried on many accounts is stopped by the address."""
    for n in range(PER_ADDRESS):
        await fail(attempts, f"user-{n}", ADDRESS)
    with pytest.raises(Throttled):
        await fail(attempts, "another", ADDRESS)
    with pytest.raises(Throttled):
        await fail(attempts, "another", f"::ffff:{ADDRESS}")
    await fail(attempts, "another", "198.51.100.1")


async def test_an_ipv6_network_counts_as_one_address(attempts: LoginThrottle) -> None:
    """Nobody gets more attempts by taking other addresses of their own network."""
    for n in range(PER_ADDRESS):
        await fail(attempts, f"user-{n}", f"2001:db8:0:1:{n:x}::1")
    with pytest.raises(Throttled):
        await fail(attempts, "another", "2001:db8:0:1:ffff::1%eth0")
    await fail(attempts, "another", "2001:db8:0:2::1")


async def test_a_wider_ipv6_network_has_a_limit_too(attempts: LoginThrottle) -> None:
    """A customer with a /48 has 65,536 networks of their own, and not as many attempts."""
    for n in range(NETWORKS[48]):
        await fail(attempts, f"user-{n}", f"2001:db8:0:{n:x}::1")
    with pytest.raises(Throttled):
        await fail(attempts, "another", "2001:db8:0:ffff::1")
    await fail(attempts, "another", "2001:db8:1::1")


async def test_an_address_nobody_can_read_has_a_limit_too(attempts: LoginThrottle) -> None:
    """What is no address counts together with all else that is none."""
    for n in range(PER_ADDRESS):
        await fail(attempts, f"user-{n}", f"nonsense-{n}")
    with pytest.raises(Throttled):
        await fail(attempts, "another", "")


async def test_open_attempts_keep_others_waiting(
    attempts: LoginThrottle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While as many are open as may fail, the next one waits for their outcome, and not for long."""
    monkeypatch.setattr(throttle, "WAIT_SECONDS", 0)
    async with asyncio.TaskGroup() as group:
        over = asyncio.Event()

        async def hold() -> None:
            async with attempts.sign_in("ada", ADDRESS) as attempt:
                await over.wait()
                attempt.succeeded = True

        for _ in range(PER_NAME):
            group.create_task(hold())
        while len(attempts._asking) or await count(attempts._database) < 2 * PER_NAME:
            await asyncio.sleep(0)
        with pytest.raises(Busy):
            await fail(attempts, "ada", ADDRESS)
        monkeypatch.undo()
        waiting = group.create_task(fail(attempts, "ada", ADDRESS))
        await asyncio.sleep(0)
        over.set()
        await waiting


async def test_an_attempt_that_breaks_off_has_failed(
    attempts: LoginThrottle, database: Database
) -> None:
    """A client that hangs up has tried; one whose database went away has not."""
    for error in (asyncio.CancelledError(), OperationalError("", None, Exception())):
        with pytest.raises(type(error)):
            async with attempts.sign_in("ada", ADDRESS):
                raise error
        assert await count(database) == 2
    async with database.transaction() as transaction:
        assert set(await transaction.scalars(select(Attempt.is_open))) == {False}


async def test_an_attempt_of_a_process_that_died_has_failed(
    attempts: LoginThrottle, database: Database
) -> None:
    """Nobody waits for what will never end."""
    for _ in range(PER_NAME):
        await fail(attempts, "ada", ADDRESS)
    async with database.transaction() as transaction:
        await transaction.execute(update(Attempt).values(is_open=True))
    await set_time(database, datetime.now(UTC) - timedelta(seconds=OPEN_SECONDS))
    with pytest.raises(Throttled):
        await fail(attempts, "ada", ADDRESS)


async def test_all_processes_count_together(attempts: LoginThrottle, database: Database) -> None:
    """The count is in the database: another process, or the same after a restart, knows it."""
    for _ in range(PER_NAME):
        await fail(attempts, "ada", ADDRESS)
    with pytest.raises(Throttled):
        await fail(LoginThrottle(database), "ada", ADDRESS)


async def test_time_heals(attempts: LoginThrottle, database: Database) -> None:
    """The message has the time until the next attempt; then the old ones are forgotten."""
    for _ in range(PER_NAME):
        await fail(attempts, "ada", ADDRESS)
    await set_time(database, datetime.now(UTC) - WINDOW + timedelta(seconds=90))
    with pytest.raises(Throttled, match="in 2 minutes") as caught:
        await fail(attempts, "ada", ADDRESS)
    assert 60 < caught.value.seconds <= 90
    await set_time(database, datetime.now(UTC) - WINDOW)
    await fail(attempts, "ada", ADDRESS)
    assert await count(database) == 2


async def test_a_clock_that_was_ahead_keeps_nobody_waiting(
    attempts: LoginThrottle, database: Database
) -> None:
    """After the clock is corrected the wait is no longer than for an attempt of now."""
    for _ in range(PER_NAME):
        await fail(attempts, "ada", ADDRESS)
    await set_time(database, datetime.now(UTC) + timedelta(days=2))
    with pytest.raises(Throttled, match="in 15 minutes"):
        await fail(attempts, "ada", ADDRESS)


async def test_a_success_clears_the_account_and_not_the_address(
    attempts: LoginThrottle, database: Database
) -> None:
    """One who knows a password cannot use it to go on guessing others."""
    for _ in range(PER_NAME - 1):
        await fail(attempts, "ada", ADDRESS)
    await succeed(attempts, "bob", ADDRESS)
    assert await count(database) == 2 * (PER_NAME - 1)
    await succeed(attempts, "ada", ADDRESS)
    assert await count(database) == PER_NAME - 1
    await fail(attempts, "ada", ADDRESS)
