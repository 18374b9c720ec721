"""Passwords: how they are hashed, and what the time of a check reveals."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from zxcvbn import matching
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from << cookiecutter.__package_name >>.accounts import AccountError, Busy, passwords
from << cookiecutter.__package_name >>.accounts.passwords import Passwords


@pytest.fixture
async def real() -> AsyncIterator[Passwords]:
    """Passwords with the hashing parameters of production."""
    real = Passwords()
    yield real
    real.close()


@pytest.fixture
def keeper(cheap: None) -> Iterator[Passwords]:
    """Passwords with cheap hashing parameters."""
    keeper = Passwords()
    yield keeper
    keeper.close()


async def test_hashes_meet_rfc_9106(real: Passwords) -> None:
    """argon2id with at least the second recommended option: 64 MiB, three passes."""
    parameters = extract_parameters(await real.hash("password"))
    assert parameters.type == Type.ID
    assert parameters.memory_cost >= 64 * 1024
    assert parameters.time_cost >= 3
    assert parameters.salt_len >= 16


async def test_only_the_password_is_right(cheap: None) -> None:
    """The hashed password matches and no other does; two hashes are never the same."""
    keeper = Passwords()
    one, two = await keeper.hash("p\u00e4ssword "), await keeper.hash("p\u00e4ssword ")
    assert one != two
    assert await keeper.verify("p\u00e4ssword ", one)
    for wrong in ("p\u00e4ssword", "password ", "", "P\u00c4SSWORD "):
        assert not await keeper.verify(wrong, one)
    keeper.close()


async def test_an_unknown_name_takes_the_time_of_a_hash(
    cheap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an unknown name a hash is checked, too, which takes as long."""
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


async def test_weak_hashes_are_outdated(real: Passwords) -> None:
    """A hash with weaker parameters than today's is to be replaced."""
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("password")
    assert real.outdated(weak)
    assert not real.outdated(await real.hash("password"))


async def test_hashing_does_not_block_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threads hash the passwords: other requests are served meanwhile."""
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


def room(keeper: Passwords) -> int:
    """Return how many requests find a place before the next one is refused."""
    with contextlib.ExitStack() as queue:
        for places in range(1000):
            try:
                queue.enter_context(keeper.place())
            except Busy:
                return places
    return 1000


async def test_a_long_queue_refuses_at_once(
    keeper: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue admits what is served in time, and less where hashing takes longer."""
    normal = room(keeper)
    assert 10 <= normal / keeper._workers <= 30
    monkeypatch.setattr(keeper, "_job_seconds", 2 * keeper._job_seconds)
    assert abs(room(keeper) - normal / 2) <= 1
    monkeypatch.setattr(passwords, "QUEUE_SECONDS", 0)
    assert room(keeper) == 1


async def test_nothing_is_hashed_for_a_disconnected_client(keeper: Passwords) -> None:
    """A job whose task is cancelled while it waits is dropped, and frees its place at once."""
    over = threading.Event()
    busy = [asyncio.create_task(keeper._run(over.wait)) for _ in range(keeper._workers)]
    hashed: list[str] = []

    async def come() -> None:
        with keeper.place():
            await keeper._run(hashed.append, "for nobody")

    gone = asyncio.create_task(come())
    await asyncio.sleep(0)
    assert keeper._places == 1
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert keeper._places == 0
    over.set()
    await asyncio.gather(*busy)
    await keeper.hash("the next")
    assert hashed == []


@pytest.mark.parametrize(
    "hostile",
    ["4@8({[<3691!|i70$5+7%2z" * 4, "1!|7+5$6940@({[<38%2" * 4, "1234567890" * 8],
)
def test_scoring_a_password_takes_bounded_work(
    monkeypatch: pytest.MonkeyPatch, hostile: str
) -> None:
    """No password delays the others, however many readings its l33t characters have."""
    looked_up = 0
    dictionary_match = matching.dictionary_match

    def count(password: str, _ranked_dictionaries: dict[str, dict[str, int]]) -> object:
        nonlocal looked_up
        looked_up += len(password) ** 2
        return dictionary_match(password, _ranked_dictionaries)

    monkeypatch.setattr(matching, "dictionary_match", count)
    passwords._too_easy(hostile, "ada")
    assert 0 < looked_up <= 2 * passwords.SCORED_WORK


async def test_common_passwords_are_refused(keeper: Passwords) -> None:
    """ASVS 2.1.7: none of the 30,000 most common passwords of sufficient length is accepted."""
    common = [word for word in FREQUENCY_LISTS["passwords"] if len(word) >= passwords.SHORTEST]
    assert len(FREQUENCY_LISTS["passwords"]) == 30_000
    assert len(common) > 200
    for word in common:
        for spelled in (word, word.upper(), word[::-1]):
            assert passwords._too_easy(spelled, "ada"), spelled


@pytest.mark.parametrize(
    "fit",
    [
        "".join(chr(33 + n * n * 37 % 94) for n in range(128)),
        "\u732b" * 6 + "\U0001f408" * 6 + " and fish",
        "a b c d e f g h i j k l",
    ],
)
async def test_passwords_are_not_limited_to_some_characters(keeper: Passwords, fit: str) -> None:
    """ASVS 2.1.2 to 2.1.4: long passwords, spaces, any script and emoji are accepted."""
    assert await keeper.verify(fit, await keeper.new_hash(fit, "ada"))


@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        ("\ufeffcorrect horse battery staple", "byte-order mark"),
        ("correct horse battery\x00staple", "control characters"),
        ("correct horse battery staple\r", "control characters"),
        ("correct horse battery\u2028staple", "control characters"),
        ("correct horse battery\ud800staple", "control characters"),
        ("a         b         c", "12 to 128 characters"),
        ("x7" * 65, "12 to 128 characters"),
    ],
    ids=ascii,
)
async def test_a_password_that_no_form_can_send_is_refused(
    keeper: Passwords, unfit: str, reason: str
) -> None:
    """A password that could never be typed is refused when it is chosen."""
    with pytest.raises(AccountError, match=reason):
        await keeper.new_hash(unfit, "ada")
    assert not await keeper.verify(unfit, await keeper.hash("another"))
