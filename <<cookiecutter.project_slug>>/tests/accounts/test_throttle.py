"""How often a password may be tried."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from << cookiecutter.__package_name >>.accounts import Throttled
from << cookiecutter.__package_name >>.accounts.tables import Attempt
from << cookiecutter.__package_name >>.accounts.throttle import (
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


async def count(database: Database) -> int:
    async with database.transaction() as transaction:
        return await transaction.scalar(select(func.count()).select_from(Attempt)) or 0


async def test_an_account_stands_so_many_attempts(attempts: LoginThrottle) -> None:
    """After ten failures within a quarter of an hour an account takes no more, from anywhere."""
    for n in range(PER_NAME):
        await attempts.begin("ada", f"192.0.2.{n}")
    with pytest.raises(Throttled, match=r"Too many attempts\. Try again in 15 minutes"):
        await attempts.begin("ada", "198.51.100.1")
    await attempts.begin("bob", ADDRESS)


async def test_an_address_has_so_many_attempts(attempts: LoginThrottle) -> None:
    """Whoever tries one password on many accounts is stopped by the address."""
    for n in range(PER_ADDRESS):
        await attempts.begin(f"user-{n}", ADDRESS)
    with pytest.raises(Throttled):
        await attempts.begin("another", ADDRESS)
    await attempts.begin("another", "198.51.100.1")


async def test_an_ipv6_network_counts_as_one_address(attempts: LoginThrottle) -> None:
    """Nobody gets more attempts by taking other addresses of their own network."""
    for n in range(PER_ADDRESS):
        await attempts.begin(f"user-{n}", f"2001:db8:0:1:{n:x}::1")
    with pytest.raises(Throttled):
        await attempts.begin("another", "2001:db8:0:1:ffff::1")
    await attempts.begin("another", "2001:db8:0:2::1")


async def test_an_address_nobody_can_read_has_a_limit_too(attempts: LoginThrottle) -> None:
    """What is no address counts together with all else that is none."""
    for n in range(PER_ADDRESS):
        await attempts.begin(f"user-{n}", f"nonsense-{n}")
    with pytest.raises(Throttled):
        await attempts.begin("another", "")


async def test_attempts_at_the_same_moment_do_not_slip_through(attempts: LoginThrottle) -> None:
    """However many come at once, no more than the limit get past."""
    asked = (attempts.begin("ada", f"192.0.2.{n}") for n in range(3 * PER_NAME))
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert done.count(None) == PER_NAME
    assert sum(isinstance(result, Throttled) for result in done) == 2 * PER_NAME


async def test_all_processes_count_together(attempts: LoginThrottle, database: Database) -> None:
    """The count is in the database: another process, or the same after a restart, knows it."""
    for _ in range(PER_NAME):
        await attempts.begin("ada", ADDRESS)
    with pytest.raises(Throttled):
        await LoginThrottle(database).begin("ada", ADDRESS)


async def test_time_heals(attempts: LoginThrottle, database: Database) -> None:
    """The message tells the time until the next attempt; then the old ones are forgotten."""
    for _ in range(PER_NAME):
        await attempts.begin("ada", ADDRESS)
    almost = datetime.now(UTC) - WINDOW + timedelta(seconds=90)
    async with database.transaction() as transaction:
        await transaction.execute(update(Attempt).values(at=almost))
    with pytest.raises(Throttled, match="in 2 minutes") as caught:
        await attempts.begin("ada", ADDRESS)
    assert 80 <= caught.value.seconds <= 90
    async with database.transaction() as transaction:
        await transaction.execute(update(Attempt).values(at=datetime.now(UTC) - WINDOW))
    await attempts.begin("ada", ADDRESS)
    assert await count(database) == 2


async def test_a_success_clears_the_account_and_not_the_address(
    attempts: LoginThrottle, database: Database
) -> None:
    """One who knows a password cannot use it to go on guessing others."""
    for _ in range(PER_NAME - 1):
        await attempts.begin("ada", ADDRESS)
    await attempts.begin("bob", ADDRESS)
    await attempts.succeeded("bob", ADDRESS)
    assert await count(database) == 2 * (PER_NAME - 1)
    await attempts.begin("ada", ADDRESS)
    await attempts.succeeded("ada", ADDRESS)
    assert await count(database) == PER_NAME - 1
    await attempts.begin("ada", ADDRESS)
