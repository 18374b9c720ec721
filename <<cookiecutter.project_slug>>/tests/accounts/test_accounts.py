"""The operations on accounts, and their rules."""

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
    """The accounts of another process."""
    elsewhere = Accounts(database)
    yield elsewhere
    elsewhere.close()


async def user_of(database: Database, name: str) -> User:
    async with database.transaction() as transaction:
        user = await transaction.scalar(select(User).where(User.name == name))
    assert user is not None
    return user


@pytest.mark.parametrize("name", ["eve", "e", "0", "eve.m-n_o", "e" * 64])
async def test_a_valid_name_makes_an_account(accounts: Accounts, name: str) -> None:
    """An account with a valid name can sign in."""
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
    """A name that could be mistaken for another name, or for something else, is refused."""
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
async def test_an_unsuitable_password_is_refused(
    accounts: Accounts, password: str, reason: str
) -> None:
    """Short passwords and easy ones, such as the account's own name, are refused."""
    with pytest.raises(AccountError, match=reason):
        await accounts.add_user("eve.marie.smith", password, CLIENT)


async def test_a_name_is_taken_once(accounts: Accounts) -> None:
    """A second account of the same name is refused, and the first keeps its password."""
    with pytest.raises(AccountError, match="An account named ada already exists"):
        await accounts.add_user("ada", BETTER, CLIENT)
    await signed_in(accounts, "ada")


async def test_simultaneous_accounts_do_not_share_a_name(accounts: Accounts) -> None:
    """Of several simultaneous requests for a name exactly one succeeds."""
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


async def test_an_unknown_name_costs_the_same_queries(
    accounts: Accounts, database: Database
) -> None:
    """A failed login runs the same queries whether the account exists or not."""
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


async def test_a_typed_name_is_counted_but_not_stored(
    accounts: Accounts, database: Database
) -> None:
    """Each typed name, even an invalid one, is counted and not stored: it may be a password."""
    for _ in range(PER_NAME):
        assert await accounts.sign_in("no name", PASSWORD, CLIENT) is None
    with pytest.raises(Throttled):
        await accounts.sign_in(" NO NAME", PASSWORD, CLIENT)
    assert await accounts.sign_in("no other name", PASSWORD, CLIENT) is None
    async with database.transaction() as transaction:
        subjects = set(await transaction.scalars(select(Attempt.subject)))
    assert not any("no" in subject for subject in subjects)


async def test_a_new_password_ends_all_sessions_of_its_user(accounts: Accounts) -> None:
    """A change ends the old password and every session of this user, and of no other."""
    token, user = await signed_in(accounts, "ada")
    foreign_token, foreign = await signed_in(accounts, "bob")
    fresh = await accounts.change_password(user, PASSWORD, BETTER, CLIENT)
    assert await accounts.current_user(token) is None
    assert await accounts.current_user(fresh) is not None
    assert await accounts.current_user(foreign_token) == foreign
    assert await accounts.sign_in("ada", PASSWORD, CLIENT) is None
    assert await accounts.sign_in("ada", BETTER, CLIENT) is not None


async def test_changing_a_password_takes_the_current_one(accounts: Accounts) -> None:
    """A stranger at a signed-in browser cannot take over the account."""
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


async def test_a_weak_hash_is_replaced_at_the_next_login(
    accounts: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the parameters rise, the next login stores a stronger hash."""
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
async def test_typed_names_are_normalized(accounts: Accounts, typed: str) -> None:
    """Capitals, surrounding spaces and full-width letters make no other name."""
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
    """RFC 8265: another encoding of a letter or a space makes no other password."""
    for name, first, second in (("eve", chosen, typed), ("eva", typed, chosen)):
        await accounts.add_user(name, first, CLIENT)
        assert await accounts.sign_in(name, second, CLIENT) is not None


async def test_many_correct_logins_at_once_all_succeed(
    accounts: Accounts, elsewhere: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open attempt is not a failure, in any process: a correct password only waits."""
    verify = accounts._passwords.verify
    # The number of open attempts reaches the limit of failures before the first of them ends.
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
    """Of many simultaneous guesses no more than the limit are checked."""
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
    """Run an action once, between the verification of a password and its effect."""
    verify = accounts._passwords.verify
    pending = [happens]

    async def verified(password: str, password_hash: str | None) -> bool:
        right = await verify(password, password_hash)
        while pending:
            await pending.pop()()
        return right

    monkeypatch.setattr(accounts._passwords, "verify", verified)


async def test_a_pending_login_fails_after_a_new_password(
    accounts: Accounts, elsewhere: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old password that was verified before the change starts no session after it."""
    _, user = await signed_in(accounts)
    change = functools.partial(elsewhere.change_password, user, PASSWORD, BETTER, CLIENT)
    after_verifying(accounts, monkeypatch, change)
    assert await accounts.sign_in("ada", PASSWORD, CLIENT) is None
    assert await count_sessions(database) == 1
    assert await accounts.sign_in("ada", BETTER, CLIENT) is not None


async def test_a_pending_login_fails_after_the_account_is_disabled(
    accounts: Accounts, elsewhere: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account that is disabled during a login gets no session."""
    after_verifying(accounts, monkeypatch, functools.partial(elsewhere.disable, "ada", CLIENT))
    assert await accounts.sign_in("ada", PASSWORD, CLIENT) is None
    assert await count_sessions(database) == 0


async def test_of_two_simultaneous_changes_one_wins(
    accounts: Accounts, elsewhere: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change does not overwrite a concurrent one in another process."""
    _, user = await signed_in(accounts)
    change = functools.partial(elsewhere.change_password, user, PASSWORD, BETTER, CLIENT)
    after_verifying(accounts, monkeypatch, change)
    with pytest.raises(AccountError, match="changed elsewhere meanwhile"):
        await accounts.change_password(user, PASSWORD, "nine purple lamps overhead", CLIENT)
    monkeypatch.undo()
    assert await accounts.sign_in("ada", BETTER, CLIENT) is not None


async def test_an_account_changes_its_password_once_at_a_time(accounts: Accounts) -> None:
    """Each change costs processor time: of many at once for one account, one is done."""
    _, user = await signed_in(accounts)
    asked = (accounts.change_password(user, PASSWORD, BETTER, CLIENT) for _ in range(8))
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(result, str) for result in done) == 1
    assert sum("under way" in str(result) for result in done) == 7


async def test_an_ended_session_changes_nothing(
    accounts: Accounts, elsewhere: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change whose session ends in the meantime is refused, and the password stays."""
    _, user = await signed_in(accounts)
    after_verifying(accounts, monkeypatch, functools.partial(elsewhere.sign_out, user, CLIENT))
    with pytest.raises(AccountError, match="Your session has ended"):
        await accounts.change_password(user, PASSWORD, BETTER, CLIENT)
    assert await accounts.sign_in("ada", PASSWORD, CLIENT) is not None


async def test_a_deleted_user_changes_nothing(accounts: Accounts, database: Database) -> None:
    """An account that is deleted during the change gives an error that can be shown."""
    _, user = await signed_in(accounts)
    async with database.transaction() as transaction:
        await transaction.execute(text("DELETE FROM users WHERE name = 'ada'"))
    with pytest.raises(AccountError):
        await accounts.change_password(user, PASSWORD, BETTER, CLIENT)


async def test_failed_logins_do_not_block_a_password_change(accounts: Accounts) -> None:
    """Failed logins count against logins, not against the signed-in user."""
    _, user = await signed_in(accounts)
    for _ in range(PER_NAME):
        await accounts.sign_in("ada", "wrong", CLIENT)
    with pytest.raises(Throttled):
        await accounts.sign_in("ada", PASSWORD, CLIENT)
    assert await accounts.change_password(user, PASSWORD, BETTER, CLIENT)


@pytest.mark.parametrize(
    ("current", "new"), [("wrong", BETTER), (PASSWORD, "passwordpassword")], ids=["wrong", "easy"]
)
async def test_refused_changes_count_as_failures(
    accounts: Accounts, current: str, new: str
) -> None:
    """A refused new password costs as much as a wrong current one, and counts as much."""
    _, user = await signed_in(accounts)
    for _ in range(PER_NAME):
        with pytest.raises(AccountError):
            await accounts.change_password(user, current, new, CLIENT)
    with pytest.raises(Throttled):
        await accounts.change_password(user, PASSWORD, BETTER, CLIENT)
    assert await accounts.sign_in("ada", PASSWORD, CLIENT) is not None


async def test_ending_a_session_takes_the_current_password(accounts: Accounts) -> None:
    """A stranger at a signed-in browser cannot end the other sessions."""
    token, user = await signed_in(accounts)
    _, other = await signed_in(accounts)
    with pytest.raises(AccountError, match="The current password is wrong"):
        await accounts.end_session(user, "wrong", None, CLIENT)
    assert await accounts.living({other.session_id}) == {other.session_id}
    await accounts.end_session(user, PASSWORD, None, CLIENT)
    assert await accounts.living({other.session_id}) == set()
    assert await accounts.current_user(token) == user


async def test_an_operator_resets_a_password(accounts: Accounts) -> None:
    """The user signs in with the new password at once, after any number of failed attempts."""
    token, _ = await signed_in(accounts)
    for _ in range(PER_NAME):
        await accounts.sign_in("ada", "wrong", CLIENT)
    await accounts.reset_password("ada", BETTER, CLIENT)
    assert await accounts.current_user(token) is None
    assert await accounts.sign_in("ada", BETTER, CLIENT) is not None


async def test_a_disabled_account_cannot_sign_in_until_it_is_enabled(accounts: Accounts) -> None:
    """Its sessions end, and its password counts as wrong; other accounts are not affected."""
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
    """A user whose attempts are cleared need not wait; those on other accounts stay."""
    for _ in range(PER_NAME):
        await accounts.sign_in("ada", "wrong", CLIENT)
        await accounts.sign_in("bob", "wrong", CLIENT)
    await accounts.clear_attempts(name, CLIENT)
    assert await accounts.sign_in("bob", PASSWORD, CLIENT) is not None
    if name:
        with pytest.raises(Throttled):
            await accounts.sign_in("ada", PASSWORD, CLIENT)


async def test_a_missing_account_is_named(accounts: Accounts) -> None:
    """The error shows a mistyped name to the operator."""
    with pytest.raises(AccountError, match="There is no account named 'eve'"):
        await accounts.disable("eve", CLIENT)
