"""The rules about users and their sessions."""

import asyncio
import functools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlalchemy import event, func, select, text, update
from sqlalchemy.exc import OperationalError

from << cookiecutter.__package_name >>.accounts import (
    AccountError,
    Accounts,
    CurrentUser,
    Throttled,
    passwords,
)
from << cookiecutter.__package_name >>.accounts.accounts import (
    SEEN_EVERY,
    SESSION_IDLE_TIMEOUT,
    SESSION_MAX_AGE,
)
from << cookiecutter.__package_name >>.accounts.tables import Attempt, Session, User
from << cookiecutter.__package_name >>.accounts.throttle import PER_NAME
from << cookiecutter.__package_name >>.database import Database

from ..browser import BETTER, PASSWORD

WHO = {"address": "192.0.2.1", "user_agent": "Test/1"}
SECOND = timedelta(seconds=1)


async def signed_in(accounts: Accounts, name: str = "ada") -> tuple[str, CurrentUser]:
    """Sign in; return the token and whose it is."""
    token = await accounts.sign_in(name, PASSWORD, **WHO)
    assert token is not None
    user = await accounts.current_user(token)
    assert user is not None
    return token, user


async def set_times(database: Database, **values: Any) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(update(Session).values(**values))


async def count_sessions(database: Database) -> int:
    async with database.transaction() as transaction:
        return await transaction.scalar(select(func.count()).select_from(Session)) or 0


async def user_of(database: Database, name: str) -> User:
    async with database.transaction() as transaction:
        user = await transaction.scalar(select(User).where(User.name == name))
    assert user is not None
    return user


@pytest.mark.parametrize("name", ["eve", "e", "0", "eve.m-n_o", "e" * 64])
async def test_a_good_name_makes_an_account(accounts: Accounts, name: str) -> None:
    """With a name that keeps to the rules one can sign in."""
    await accounts.add_user(name, PASSWORD)
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
        await accounts.add_user(name, PASSWORD)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", "A password has 12 to 1024 characters"),
        ("x" * 11, "A password has 12 to 1024 characters"),
        ("x" * 1025, "A password has 12 to 1024 characters"),
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
        await accounts.add_user("eve.marie.smith", password)


async def test_a_name_is_taken_once(accounts: Accounts) -> None:
    """The second account of a name is refused, and the first keeps its password."""
    with pytest.raises(AccountError, match="There is an account named ada already"):
        await accounts.add_user("ada", BETTER)
    await signed_in(accounts, "ada")


async def test_a_name_is_taken_once_even_at_the_same_moment(accounts: Accounts) -> None:
    """Of several who ask for a name at the same moment exactly one gets it."""
    asked = (accounts.add_user("eve", PASSWORD) for _ in range(4))
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(result).__name__ for result in done) == [*["AccountError"] * 3, "NoneType"]


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", "wrong"), ("ada", ""), ("ada", PASSWORD + " "), ("Ada", PASSWORD), ("eve", PASSWORD)],
)
async def test_only_the_right_pair_signs_in(
    accounts: Accounts, database: Database, name: str, password: str
) -> None:
    """Any other name or password starts no session."""
    assert await accounts.sign_in(name, password, **WHO) is None
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
        assert await accounts.sign_in(name, "not the password", **WHO) is None
        questions.append(list(asked))
        asked.clear()
    assert any("FROM users" in query for query in questions[0])
    assert questions[0] == questions[1] == questions[2]


async def test_what_is_no_name_is_not_kept(accounts: Accounts, database: Database) -> None:
    """Names that nobody can have count together, and what was typed is not stored."""
    for n in range(PER_NAME):
        assert await accounts.sign_in(f"no name {n}" * 99, PASSWORD, **WHO) is None
    with pytest.raises(Throttled):
        await accounts.sign_in("\u00e9", PASSWORD, **WHO)
    async with database.transaction() as transaction:
        subjects = set(await transaction.scalars(select(Attempt.subject)))
    assert not any("no name" in subject for subject in subjects)


async def test_a_session_knows_where_it_comes_from(accounts: Accounts) -> None:
    """Address and browser are kept for the user to recognise it, cut to what has room."""
    token = await accounts.sign_in("ada", PASSWORD, address="a" * 99, user_agent="u" * 999)
    assert token is not None
    user = await accounts.current_user(token)
    assert user is not None
    (session,) = await accounts.sessions(user.user_id)
    assert session.address == "a" * 45
    assert session.user_agent == "u" * 255


async def test_the_database_does_not_hold_the_token(accounts: Accounts, database: Database) -> None:
    """Whoever reads the database cannot use the sessions in it: only digests are stored."""
    token, _ = await signed_in(accounts)
    async with database.transaction() as transaction:
        rows = (await transaction.execute(text("SELECT * FROM sessions"))).all()
    assert len(rows) == 1
    assert token not in str(rows)
    assert len(token) >= 43


async def test_an_unused_session_ends(accounts: Accounts, database: Database) -> None:
    """A session that was not used for a week is over, and until then it is not."""
    token, user = await signed_in(accounts)
    await set_times(database, seen_at=datetime.now(UTC) - SESSION_IDLE_TIMEOUT + 60 * SECOND)
    assert await accounts.current_user(token) == user
    await set_times(database, seen_at=datetime.now(UTC) - SESSION_IDLE_TIMEOUT - SECOND)
    assert await accounts.current_user(token) is None
    assert await accounts.living({user.session_id}) == set()
    assert await accounts.sessions(user.user_id) == []


async def test_every_session_ends_some_day(accounts: Accounts, database: Database) -> None:
    """However much it is used, a session is over after a month."""
    token, user = await signed_in(accounts)
    await set_times(database, created_at=datetime.now(UTC) - SESSION_MAX_AGE + 60 * SECOND)
    assert await accounts.current_user(token) == user
    await set_times(database, created_at=datetime.now(UTC) - SESSION_MAX_AGE - SECOND)
    assert await accounts.current_user(token) is None
    assert await accounts.living({user.session_id}) == set()
    assert await accounts.sessions(user.user_id) == []


async def test_using_a_session_keeps_it(accounts: Accounts, database: Database) -> None:
    """Use is noted, but not with each request: reading a page seldom costs a write."""
    token, user = await signed_in(accounts)

    async def used(seen_at: datetime) -> datetime:
        await set_times(database, seen_at=seen_at)
        await accounts.current_user(token)
        (session,) = await accounts.sessions(user.user_id)
        return session.seen_at

    lately = datetime.now(UTC) - SEEN_EVERY + 60 * SECOND
    assert await used(lately) == lately
    assert await used(datetime.now(UTC) - SEEN_EVERY - SECOND) > lately


async def test_ended_sessions_are_cleaned_up(accounts: Accounts, database: Database) -> None:
    """A login sweeps away the sessions whose time is over, whoever's they are."""
    await signed_in(accounts, "ada")
    await set_times(database, seen_at=datetime.now(UTC) - SESSION_IDLE_TIMEOUT - SECOND)
    await signed_in(accounts, "bob")
    assert await count_sessions(database) == 1


async def test_sessions_are_listed_the_last_used_first(
    accounts: Accounts, database: Database
) -> None:
    """A user sees all sessions of their own, in an order that helps, and nobody else's."""
    (_, old), (_, new), (_, foreign) = [
        await signed_in(accounts, name) for name in ("ada", "ada", "bob")
    ]

    async def listed(user: CurrentUser) -> list[int]:
        return [session.id for session in await accounts.sessions(user.user_id)]

    assert await listed(old) == [new.session_id, old.session_id]
    async with database.transaction() as transaction:
        later = datetime.now(UTC) + 60 * SECOND
        await transaction.execute(
            update(Session).where(Session.id == old.session_id).values(seen_at=later)
        )
    assert await listed(old) == [old.session_id, new.session_id]
    assert await listed(foreign) == [foreign.session_id]


async def test_a_session_is_ended_by_its_user_only(accounts: Accounts) -> None:
    """Knowing the id of somebody's session is not enough to end it."""
    token, user = await signed_in(accounts, "ada")
    _, foreign = await signed_in(accounts, "bob")
    await accounts.end_session(foreign.user_id, user.session_id)
    assert await accounts.current_user(token) == user
    for _ in range(2):
        await accounts.end_session(user.user_id, user.session_id)
        assert await accounts.current_user(token) is None


async def test_no_session_gets_the_id_of_one_that_has_ended(accounts: Accounts) -> None:
    """Whoever ends a session in an old list of theirs never ends another one instead."""
    _, ended = await signed_in(accounts, "ada")
    await accounts.end_session(ended.user_id, ended.session_id)
    _, new = await signed_in(accounts, "bob")
    assert new.session_id > ended.session_id


async def test_requests_at_the_same_time_get_their_own_answers(
    accounts: Accounts, database: Database
) -> None:
    """Questions that are answered together are not mixed up, and cost few look-ups."""
    ada, bob = await signed_in(accounts, "ada"), await signed_in(accounts, "bob")
    looked_up: list[str] = []

    def count(*query: object) -> None:
        looked_up.append(str(query[2]))

    event.listen(database.engine.sync_engine, "before_cursor_execute", count)
    tokens = [ada[0], bob[0], "nobody's"] * 50
    answers = await asyncio.gather(*(accounts.current_user(token) for token in tokens))
    assert answers == [ada[1], bob[1], None] * 50
    assert sum("FROM sessions" in query for query in looked_up) <= 2


async def test_one_who_gives_up_takes_the_answer_from_nobody(accounts: Accounts) -> None:
    """A client that went away while its question was asked does not disturb the others."""
    token, user = await signed_in(accounts)
    impatient, patient = (asyncio.create_task(accounts.current_user(token)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == user


async def test_a_question_that_fails_fails_for_all_and_the_next_is_asked_again(
    accounts: Accounts, database: Database
) -> None:
    """While the database is away everybody who asks is told so; afterwards all is as before."""
    token, user = await signed_in(accounts)
    async with database.transaction() as transaction:
        await transaction.execute(text("ALTER TABLE sessions RENAME TO elsewhere"))
    asked = (accounts.current_user(name) for name in (token, token, "another"))
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, OperationalError)
    async with database.transaction() as transaction:
        await transaction.execute(text("ALTER TABLE elsewhere RENAME TO sessions"))
    assert await accounts.current_user(token) == user


async def test_a_new_password_ends_all_sessions_of_its_user(accounts: Accounts) -> None:
    """After a change the old password and every session are worthless; others notice nothing."""
    token, user = await signed_in(accounts, "ada")
    foreign_token, foreign = await signed_in(accounts, "bob")
    fresh = await accounts.change_password(user.user_id, PASSWORD, BETTER, **WHO)
    assert await accounts.current_user(token) is None
    assert await accounts.current_user(fresh) is not None
    assert await accounts.current_user(foreign_token) == foreign
    assert await accounts.sign_in("ada", PASSWORD, **WHO) is None
    assert await accounts.sign_in("ada", BETTER, **WHO) is not None


async def test_a_password_is_changed_by_whoever_knows_it(accounts: Accounts) -> None:
    """Who found a browser signed in cannot take the account over."""
    token, user = await signed_in(accounts)
    for current, new, reason in (
        ("wrong", BETTER, "The current password is not right"),
        (PASSWORD, "short", "A password has 12 to 1024 characters"),
        (PASSWORD, "passwordpassword", "Take several words"),
    ):
        with pytest.raises(AccountError, match=reason):
            await accounts.change_password(user.user_id, current, new, **WHO)
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
    assert await risen.sign_in("ada", "wrong", **WHO) is None
    assert (await user_of(database, "ada")).password_hash == before
    await signed_in(risen)
    assert "m=16,t=2" in (await user_of(database, "ada")).password_hash
    await signed_in(risen)
    risen.close()
