"""Passwords: how they are hashed, and what the time of a check gives away."""

import asyncio
import functools
from collections.abc import AsyncIterator

import pytest
from argon2 import PasswordHasher, Type, extract_parameters

from << cookiecutter.__package_name >>.accounts import passwords
from << cookiecutter.__package_name >>.accounts.passwords import Passwords


@pytest.fixture
async def real() -> AsyncIterator[Passwords]:
    """Passwords as in production, not cheap ones."""
    real = Passwords()
    yield real
    real.close()


async def test_a_hash_is_as_strong_as_rfc_9106_asks(real: Passwords) -> None:
    """argon2id with at least the second recommended option: 64 MiB, three passes."""
    parameters = extract_parameters(await real.hash("password"))
    assert parameters.type == Type.ID
    assert parameters.memory_cost >= 64 * 1024
    assert parameters.time_cost >= 3
    assert parameters.salt_len >= 16


async def test_only_the_password_is_right(cheap: None) -> None:
    """What was hashed is right and anything else is not; a hash is never the same twice."""
    keeper = Passwords()
    one, two = await keeper.hash("p\u00e4ssword "), await keeper.hash("p\u00e4ssword ")
    assert one != two
    assert await keeper.verify("p\u00e4ssword ", one)
    for wrong in ("p\u00e4ssword", "password ", "", "P\u00c4SSWORD "):
        assert not await keeper.verify(wrong, one)
    keeper.close()


async def test_nobody_has_no_password(cheap: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a name that does not exist a hash is checked too, so that it takes as long."""
    keeper = Passwords()
    checked: list[str] = []
    verify = keeper._verify

    def spy(password: str, password_hash: str) -> bool:
        checked.append(password_hash)
        return verify(password, password_hash)

    monkeypatch.setattr(keeper, "_verify", spy)
    a_hash = await keeper.hash("password")
    assert not await keeper.verify("password", None)
    assert not await keeper.verify("wrong", a_hash)
    unknown, known = checked
    assert extract_parameters(unknown) == extract_parameters(known)
    keeper.close()


async def test_weak_hashes_are_noticed(real: Passwords) -> None:
    """A hash made with less than today's parameters is due to be made anew."""
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("password")
    assert real.outdated(weak)
    assert not real.outdated(await real.hash("password"))


async def test_the_loop_goes_on_while_passwords_are_hashed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hashing happens in threads: other requests are served meanwhile."""
    slow = functools.partial(PasswordHasher, time_cost=8, memory_cost=8 * 1024, parallelism=1)
    monkeypatch.setattr(passwords, "PasswordHasher", slow)
    keeper = Passwords()
    hashing = asyncio.create_task(keeper.hash("password"))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
    keeper.close()
