"""The limits on password attempts."""

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


async def test_an_account_has_a_limit_of_failures(attempts: LoginThrottle) -> None:
    """After ten failures within 15 minutes an account accepts no attempt, from any address."""
    for n in range(PER_NAME):
        await fail(attempts, "ada", f"192.0.2.{n}")
    with pytest.raises(Throttled, match=r"Too many attempts\. Try again in 15 minutes"):
        await fail(attempts, "ada", "198.51.100.1")
    await fail(attempts, "bob", ADDRESS)


async def test_an_address_has_a_limit_of_failures(attempts: LoginThrottle) -> None:
    """The limit by address stops one password that is tried on many accounts."""
    for n in range(PER_ADDRESS):
        await fail(attempts, f"user-{n}", ADDRESS)
    with pytest.raises(Throttled):
        await fail(attempts, "another", ADDRESS)
    with pytest.raises(Throttled):
        await fail(attempts, "another", f"::ffff:{ADDRESS}")
    await fail(attempts, "another", "198.51.100.1")


async def test_an_ipv6_network_counts_as_one_address(attempts: LoginThrottle) -> None:
    """Other addresses of the same network give a client no more attempts."""
    for n in range(PER_ADDRESS):
        await fail(attempts, f"user-{n}", f"2001:db8:0:1:{n:x}::1")
    with pytest.raises(Throttled):
        await fail(attempts, "another", "2001:db8:0:1:ffff::1%eth0")
    await fail(attempts, "another", "2001:db8:0:2::1")


async def test_a_wider_ipv6_network_has_a_limit_too(
    attempts: LoginThrottle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A customer with a /48 has 65,536 networks, but not as many attempts."""
    assert NETWORKS[64] < NETWORKS[48] <= 10 * NETWORKS[64]
    monkeypatch.setitem(NETWORKS, 48, 20)
    for n in range(NETWORKS[48]):
        await fail(attempts, f"user-{n}", f"2001:db8:0:{n:x}::1")
    with pytest.raises(Throttled):
        await fail(attempts, "another", "2001:db8:0:ffff::1")
    await fail(attempts, "another", "2001:db8:1::1")


async def test_invalid_addresses_share_one_limit(attempts: LoginThrottle) -> None:
    """Everything that is not an address counts together."""
    for n in range(PER_ADDRESS):
        await fail(attempts, f"user-{n}", f"nonsense-{n}")
    with pytest.raises(Throttled):
        await fail(attempts, "another", "")


async def test_an_attempt_waits_for_open_ones(
    attempts: LoginThrottle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of open attempts the next one waits for their outcome, for a limited time."""
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


async def test_an_interrupted_attempt_has_failed(
    attempts: LoginThrottle, database: Database
) -> None:
    """An attempt counts if its client disconnects, and does not if the database fails."""
    for error in (asyncio.CancelledError(), OperationalError("", None, Exception())):
        with pytest.raises(type(error)):
            async with attempts.sign_in("ada", ADDRESS):
                raise error
        assert await count(database) == 2
    async with database.transaction() as transaction:
        assert set(await transaction.scalars(select(Attempt.is_open))) == {False}


async def test_an_attempt_of_a_dead_process_has_failed(
    attempts: LoginThrottle, database: Database
) -> None:
    """No later attempt waits for an open attempt of a dead process."""
    for _ in range(PER_NAME):
        await fail(attempts, "ada", ADDRESS)
    async with database.transaction() as transaction:
        await transaction.execute(update(Attempt).values(is_open=True))
    await set_time(database, datetime.now(UTC) - timedelta(seconds=OPEN_SECONDS))
    with pytest.raises(Throttled):
        await fail(attempts, "ada", ADDRESS)


async def test_all_processes_count_together(attempts: LoginThrottle, database: Database) -> None:
    """The count is in the database: another process, or a restarted one, has the same."""
    for _ in range(PER_NAME):
        await fail(attempts, "ada", ADDRESS)
    with pytest.raises(Throttled):
        await fail(LoginThrottle(database), "ada", ADDRESS)


async def test_failures_expire(attempts: LoginThrottle, database: Database) -> None:
    """The message names the time until the next attempt; then the old failures are deleted."""
    for _ in range(PER_NAME):
        await fail(attempts, "ada", ADDRESS)
    await set_time(database, datetime.now(UTC) - WINDOW + timedelta(seconds=90))
    with pytest.raises(Throttled, match="in 2 minutes") as caught:
        await fail(attempts, "ada", ADDRESS)
    assert 60 < caught.value.seconds <= 90
    await set_time(database, datetime.now(UTC) - WINDOW)
    await fail(attempts, "ada", ADDRESS)
    assert await count(database) == 2


async def test_a_corrected_clock_does_not_prolong_the_wait(
    attempts: LoginThrottle, database: Database
) -> None:
    """After the clock is set back the wait is no longer than for an attempt made now."""
    for _ in range(PER_NAME):
        await fail(attempts, "ada", ADDRESS)
    await set_time(database, datetime.now(UTC) + timedelta(days=2))
    with pytest.raises(Throttled, match="in 15 minutes"):
        await fail(attempts, "ada", ADDRESS)


async def test_a_success_clears_the_account_and_not_the_address(
    attempts: LoginThrottle, database: Database
) -> None:
    """A client that knows one password cannot use it to guess others without limit."""
    for _ in range(PER_NAME - 1):
        await fail(attempts, "ada", ADDRESS)
    await succeed(attempts, "bob", ADDRESS)
    assert await count(database) == 2 * (PER_NAME - 1)
    await succeed(attempts, "ada", ADDRESS)
    assert await count(database) == PER_NAME - 1
    await fail(attempts, "ada", ADDRESS)
