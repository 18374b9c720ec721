"""The rules about users and what they do."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator

import pytest
from argon2 import PasswordHasher
from sqlalchemy import event, select, text

from << cookiecutter.__package_name >>.accounts import (
    AccountError,
    Accounts,
    Throttled,
    passwords,
)
from << cookiecutter.__package_name >>.accounts.tables import Attempt, User
from << cookiecutter.__package_name >>.accounts.throttle import PER_NAME
from << cookiecutter.__package_name >>.database import Database

from ..browser import BETTER, PASSWORD
from ..waiting import DEADLINE_SECONDS
from .people import CLIENT, count_sessions, signed_in


@pytest.fixture
def elsewhere(database: Database, cheap: None) -> Iterator[Accounts]:
    """The accounts as another process has them."""
    elsewhere = Accounts(database)
    yield elsewhere
    elsewhere.close()


async def user_of(database: Database, name: str) -> User:
    async with database.transaction() as transaction:
        user = await transaction.scalar(select(User).where(User.name == name))
    assert user is not None
    return user


@pytest.mark.parametrize("name", ["eve", "e", "0", "eve.m-n_o", "e" * 64])
async def test_a_good_name_makes_an_account(accounts: Accounts, name: str) -> None:
    """With a name that keeps to the rules one can sign in."""
    await accounts.add_user(name, PASSWORD, CLIENT)
    _, user = await signed_in(accounts, name)
    assert user.name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "Eve",
        "eve ",
        "eve\n",
        ".eve",
        "-eve",
        "_eve",
        "e" * 65,
        "\u00e9ve",
        "\u0435ve",
        "a/b",
    ],
)
async def test_a_bad_name_is_refused(accounts: Accounts, name: str) -> None:
    """What could be mistaken for another name, or for something else, is no name."""
    with pytest.raises(AccountError, match="A name has 1 to 64 characters"):
        await accounts.add_user(name, PASSWORD, CLIENT)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", "A password has 12 to 128 characters"),
        ("x" * 11, "A password has 12 to 128 characters"),
        ("x" * 129, "A password has 12 to 128 characters"),
        ("password1234", "Take several words"),
        ("aaaaaaaaaaaaaaaa", "Take several words"),
        ("qwertyuiopasdfgh", "Take several words"),
        ("eve.marie.smith", "Take several words"),
    ],
)
async def test_a_password_that_will_not_do_is_refused(
    accounts: Accounts, password: str, reason: str
) -> None:
    """Too short and too easy to guess, the account's own name included, are refused alike."""
    with pytest.raises(AccountError, match=reason):
        await accounts.add_user("eve.marie.smith", password, CLIENT)


async def test_a_name_is_taken_once(accounts: Accounts) -> None:
    """The second account of a name is refused, and the first keeps its password."""
    with pytest.raises(AccountError, match="An account named ada already exists"):
        await accounts.add_user("ada", BETTER, CLIENT)
    await signed_in(accounts, "ada")


async def test_a_name_is_taken_once_even_at_the_same_moment(accounts: Accounts) -> None:
    """Of several who ask for a name at the same moment exactly one gets it."""
    asked = (accounts.add_user("eve", PASSWORD, CLIENT) for _ in range(4))
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(result).__name__ for result in done) == [*["AccountError"] * 3, "NoneType"]


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "wrong"), ("ada", ""), ("ada", PASSWORD + " "), ("eve", PASSWORD)],
)
async def test_only_the_right_pair_signs_in(
    accounts: Accounts, database: Database, name: str, password: str
) -> None:
    """Any other name or password starts no session."""
    assert await accounts.sign_in(name, password, CLIENT) is None
    assert await count_sessions(database) == 0


async def test_the_database_is_asked_as_much_for_an_unknown_name(
    accounts: Accounts, database: Database
) -> None:
    """A failed login asks the same questions whether there is such an account or not."""
    asked: list[str] = []

    def note(*query: object) -> None:
        asked.append(str(query[2]))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    questions = []
    for name in ("ada", "eve", "no name"):
        assert await accounts.sign_in(name, "not the password", CLIENT) is None
        questions.append(list(asked))
        asked.clear()
    assert any("FROM users" in query for query in questions[0])
    assert questions[0] == questions[1] == questions[2]


async def test_what_was_typed_as_a_name_counts_and_is_not_kept(
    accounts: Accounts, database: Database
) -> None:
    """Each name counts for itself, also one that nobody can have; it may be a password."""
    for _ in range(PER_NAME):
        assert await accounts.sign_in("no name", PASSWORD, CLIENT) is None
    with pytest.raises(Throttled):
        await accounts.sign_in(" NO NAME", PASSWORD, CLIENT)
    assert await accounts.sign_in("no other name", PASSWORD, CLIENT) is None
    async with database.transaction() as transaction:
        subjects = set(await transaction.scalars(select(Attempt.subject)))
    assert not any("no" in subject for subject in subjects)


async def test_a_new_password_ends_all_sessions_of_its_user(accounts: Accounts) -> None:
    """After a change the old password and every session are worthless; others notice nothing."""
    token, user = await signed_in(accounts, "ada")
    foreign_token, foreign = await signed_in(accounts, "bob")
    fresh = await accounts.change_password(user, PASSWORD, BETTER, CLIENT)
    assert await accounts.current_user(token) is None
    assert await accounts.current_user(fresh) is not None
    assert await accounts.current_user(foreign_token) == foreign
    assert await accounts.sign_in("ada", PASSWORD, CLIENT) is None
    assert await accounts.sign_in("ada", BETTER, CLIENT) is not None


async def test_a_password_is_changed_by_whoever_knows_it(accounts: Accounts) -> None:
    """Who found a browser signed in cannot take the account over."""
    token, user = await signed_in(accounts)
    for current, new, reason in (
        ("wrong", BETTER, "The current password is wrong"),
        (PASSWORD, "short", "A password has 12 to 128 characters"),
        (PASSWORD, "passwordpassword", "Take several words"),
    ):
        with pytest.raises(AccountError, match=reason):
            await accounts.change_password(user, current, new, CLIENT)
    assert await accounts.current_user(token) == user
    await signed_in(accounts)


async def test_a_weak_hash_is_made_anew_at_the_next_login(
    accounts: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the parameters rise, users get the stronger hash without noticing."""
    before = (await user_of(database, "ada")).password_hash
    await signed_in(accounts)
    assert (await user_of(database, "ada")).password_hash == before
    stronger = functools.partial(PasswordHasher, time_cost=2, memory_cost=16, parallelism=1)
    monkeypatch.setattr(passwords, "PasswordHasher", stronger)
    risen = Accounts(database)
    assert await risen.sign_in("ada", "wrong", CLIENT) is None
    assert (await user_of(database, "ada")).password_hash == before
    await signed_in(risen)
    assert "m=16,t=2" in (await user_of(database, "ada")).password_hash
    await signed_in(risen)
    risen.close()


@pytest.mark.parametrize("typed", ["Ada", " ada\t", "ADA", "\uff41\uff44\uff41"])
async def test_a_name_is_what_was_meant(accounts: Accounts, typed: str) -> None:
    """Capitals, spaces around it and full-width letters are no other name."""
    assert await accounts.sign_in(typed, PASSWORD, CLIENT) is not None


@pytest.mark.parametrize(
    ("chosen", "typed"),
    [
        ("Ba\u0308renfell \u00fcber Tr\u00e4umen", "B\u00e4renfell u\u0308ber Tra\u0308umen"),
        ("seven\u00a0green\u3000bicycles ahead", "seven green bicycles ahead"),
    ],
    ids=["NFC and NFD", "spaces"],
)
async def test_a_password_is_the_same_on_every_keyboard(
    accounts: Accounts, chosen: str, typed: str
) -> None:
    """RFC 8265: how a letter or a space is encoded makes no other password."""
    for name, first, second in (("eve", chosen, typed), ("eva", typed, chosen)):
        await accounts.add_user(name, first, CLIENT)
        assert await accounts.sign_in(name, second, CLIENT) is not None


async def test_many_right_logins_at_once_all_succeed(
    accounts: Accounts, elsewhere: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open attempt is no failed one, in whichever process: the right password only waits."""
    verify = accounts._passwords.verify
    # As many are open as may fail, before the first of them ends.
    together = asyncio.Barrier(PER_NAME)

    async def verified(password: str, password_hash: str | None) -> bool:
        await together.wait()
        return await verify(password, password_hash)

    for process in (accounts, elsewhere):
        monkeypatch.setattr(process._passwords, "verify", verified)
    asked = (
        (accounts, elsewhere)[n % 2].sign_in("ada", PASSWORD, CLIENT) for n in range(4 * PER_NAME)
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        tokens = await asyncio.gather(*asked)
    assert len(set(tokens) - {None}) == 4 * PER_NAME


async def test_many_wrong_logins_at_once_do_not_slip_through(
    accounts: Accounts, elsewhere: Accounts
) -> None:
    """Of many guesses at the same moment no more are looked at than the limit."""
    asked = (
        (accounts, elsewhere)[n % 2].sign_in("ada", f"wrong {n}", CLIENT)
        for n in range(3 * PER_NAME)
    )
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert done.count(None) == PER_NAME
    assert sum(isinstance(result, Throttled) for result in done) == 2 * PER_NAME


def after_verifying(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[object]]
) -> None:
    """Let something happen once, when a password was verified and nothing was done yet."""
    verify = accounts._passwords.verify
    pending = [happens]

    async def verified(password: str, password_hash: str | None) -> bool:
        right = await verify(password, password_hash)
        while pending:
            await pending.pop()()
        return right

    monkeypatch.setattr(accounts._passwords, "verify", verified)


async def test_a_login_under_way_does_not_survive_a_new_password(
    accounts: Accounts, elsewhere: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old password was right when it was verified, and starts no session afterwards."""
    _, user = await signed_in(accounts)
    change = functools.partial(elsewhere.change_password, user, PASSWORD, BETTER, CLIENT)
    after_verifying(accounts, monkeypatch, change)
    assert await accounts.sign_in("ada", PASSWORD, CLIENT) is None
    assert await count_sessions(database) == 1
    assert await accounts.sign_in("ada", BETTER, CLIENT) is not None


async def test_a_login_under_way_does_not_survive_the_end_of_the_account(
    accounts: Accounts, elsewhere: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account that is disabled meanwhile starts no session."""
    after_verifying(accounts, monkeypatch, functools.partial(elsewhere.disable, "ada", CLIENT))
    assert await accounts.sign_in("ada", PASSWORD, CLIENT) is None
    assert await count_sessions(database) == 0


async def test_of_two_changes_at_once_one_wins(
    accounts: Accounts, elsewhere: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change does not overwrite another one that it did not know, in another process."""
    _, user = await signed_in(accounts)
    change = functools.partial(elsewhere.change_password, user, PASSWORD, BETTER, CLIENT)
    after_verifying(accounts, monkeypatch, change)
    with pytest.raises(AccountError, match="changed elsewhere meanwhile"):
        await accounts.change_password(user, PASSWORD, "nine purple lamps overhead", CLIENT)
    monkeypatch.undo()
    assert await accounts.sign_in("ada", BETTER, CLIENT) is not None


async def test_an_account_changes_its_password_once_at_a_time(accounts: Accounts) -> None:
    """Changes cost a processor: of many at once for one account one is done."""
    _, user = await signed_in(accounts)
    asked = (accounts.change_password(user, PASSWORD, BETTER, CLIENT) for _ in range(8))
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(result, str) for result in done) == 1
    assert sum("under way" in str(result) for result in done) == 7


async def test_a_session_that_has_ended_changes_nothing(
    accounts: Accounts, elsewhere: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change whose session ends meanwhile is refused, and the password stays."""
    _, user = await signed_in(accounts)
    after_verifying(accounts, monkeypatch, functools.partial(elsewhere.sign_out, user, CLIENT))
    with pytest.raises(AccountError, match="Your session has ended"):
        await accounts.change_password(user, PASSWORD, BETTER, CLIENT)
    assert await accounts.sign_in("ada", PASSWORD, CLIENT) is not None


async def test_a_user_who_is_gone_changes_nothing(accounts: Accounts, database: Database) -> None:
    """An account that was deleted meanwhile is an error that can be shown."""
    _, user = await signed_in(accounts)
    async with database.transaction() as transaction:
        await transaction.execute(text("DELETE FROM users WHERE name = 'ada'"))
    with pytest.raises(AccountError):
        await accounts.change_password(user, PASSWORD, BETTER, CLIENT)


async def test_strangers_do_not_keep_a_user_from_a_new_password(accounts: Accounts) -> None:
    """Failed logins count against logins, not against a user who is signed in."""
    _, user = await signed_in(accounts)
    for _ in range(PER_NAME):
        await accounts.sign_in("ada", "wrong", CLIENT)
    with pytest.raises(Throttled):
        await accounts.sign_in("ada", PASSWORD, CLIENT)
    assert await accounts.change_password(user, PASSWORD, BETTER, CLIENT)


@pytest.mark.parametrize(
    ("current", "new"), [("wrong", BETTER), (PASSWORD, "passwordpassword")], ids=["wrong", "easy"]
)
async def test_changes_that_fail_count_to_their_end(
    accounts: Accounts, current: str, new: str
) -> None:
    """A new password that is refused costs as much as a wrong one, and counts as much."""
    _, user = await signed_in(accounts)
    for _ in range(PER_NAME):
        with pytest.raises(AccountError):
            await accounts.change_password(user, current, new, CLIENT)
    with pytest.raises(Throttled):
        await accounts.change_password(user, PASSWORD, BETTER, CLIENT)
    assert await accounts.sign_in("ada", PASSWORD, CLIENT) is not None


async def test_a_session_is_ended_by_the_password(accounts: Accounts) -> None:
    """Who found a browser signed in cannot end the other sessions."""
    token, user = await signed_in(accounts)
    _, other = await signed_in(accounts)
    with pytest.raises(AccountError, match="The current password is wrong"):
        await accounts.end_session(user, "wrong", None, CLIENT)
    assert await accounts.living({other.session_id}) == {other.session_id}
    await accounts.end_session(user, PASSWORD, None, CLIENT)
    assert await accounts.living({other.session_id}) == set()
    assert await accounts.current_user(token) == user


async def test_an_operator_resets_a_password(accounts: Accounts) -> None:
    """The user signs in with the new password at once, however many attempts have failed."""
    token, _ = await signed_in(accounts)
    for _ in range(PER_NAME):
        await accounts.sign_in("ada", "wrong", CLIENT)
    await accounts.reset_password("ada", BETTER, CLIENT)
    assert await accounts.current_user(token) is None
    assert await accounts.sign_in("ada", BETTER, CLIENT) is not None


async def test_a_disabled_account_is_out_of_use_until_it_is_enabled(accounts: Accounts) -> None:
    """Its sessions end, and its password is as good as a wrong one; others notice nothing."""
    token, _ = await signed_in(accounts, "ada")
    foreign_token, foreign = await signed_in(accounts, "bob")
    await accounts.disable("ada", CLIENT)
    assert await accounts.current_user(token) is None
    assert await accounts.sign_in("ada", PASSWORD, CLIENT) is None
    assert await accounts.current_user(foreign_token) == foreign
    await accounts.enable("ada", CLIENT)
    assert await accounts.sign_in("ada", PASSWORD, CLIENT) is not None


@pytest.mark.parametrize("name", ["bob", None])
async def test_an_operator_clears_attempts(accounts: Accounts, name: str | None) -> None:
    """A user whose attempts are forgotten need not wait; of other accounts they stay."""
    for _ in range(PER_NAME):
        await accounts.sign_in("ada", "wrong", CLIENT)
        await accounts.sign_in("bob", "wrong", CLIENT)
    await accounts.clear_attempts(name, CLIENT)
    assert await accounts.sign_in("bob", PASSWORD, CLIENT) is not None
    if name:
        with pytest.raises(Throttled):
            await accounts.sign_in("ada", PASSWORD, CLIENT)


async def test_an_account_that_is_not_there_is_named(accounts: Accounts) -> None:
    """An operator who mistypes a name reads it."""
    with pytest.raises(AccountError, match="There is no account named 'eve'"):
        await accounts.disable("eve", CLIENT)
