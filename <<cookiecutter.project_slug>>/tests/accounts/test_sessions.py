"""Sessions: how they begin, are found, and end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text, update
from sqlalchemy.exc import OperationalError

from << cookiecutter.__package_name >>.accounts import (
    SESSION_MAX_AGE,
    Accounts,
    Client,
    CurrentUser,
    sessions,
)
from << cookiecutter.__package_name >>.accounts.sessions import SEEN_EVERY, SESSION_IDLE_TIMEOUT
from << cookiecutter.__package_name >>.accounts.tables import Session
from << cookiecutter.__package_name >>.database import Database

<% if cookiecutter.sign_in == "passwords" %>
from ..browser import PASSWORD
from .people import CLIENT, count_sessions, signed_in
<% else %>
from .people import CLIENT, count_sessions, sign_in, signed_in
<% endif %>

SECOND = timedelta(seconds=1)


async def set_times(database: Database, **values: Any) -> None:
    async with database.transaction() as transaction:
        await transaction.execute(update(Session).values(**values))


async def test_a_session_records_address_and_browser(accounts: Accounts) -> None:
    """A session stores address and browser, cut to the columns, so that its user recognizes it."""
#% if cookiecutter.sign_in == "passwords"
    token = await accounts.sign_in("ada", PASSWORD, Client("a" * 99, "u" * 999))
    assert token is not None
#% else
    token = await sign_in(accounts, "ada", Client("a" * 99, "u" * 999))
#% endif
    user = await accounts.current_user(token)
    assert user is not None
    ((session,), _) = await accounts.sessions.page(user.user_id)
    assert session.address == "a" * 45
    assert session.user_agent == "u" * 255


async def test_the_database_does_not_hold_the_token(accounts: Accounts, database: Database) -> None:
    """A copy of the database opens no session: it stores only digests of tokens."""
    token, _ = await signed_in(accounts)
    async with database.transaction() as transaction:
        rows = (await transaction.execute(text("SELECT * FROM sessions"))).all()
    assert len(rows) == 1
    assert token not in str(rows)
    assert len(token) >= 43


async def test_an_unused_session_ends(accounts: Accounts, database: Database) -> None:
    """A session ends after a week without use, and not before."""
    token, user = await signed_in(accounts)
    await set_times(database, seen_at=datetime.now(UTC) - SESSION_IDLE_TIMEOUT + 60 * SECOND)
    assert await accounts.current_user(token) == user
    await set_times(database, seen_at=datetime.now(UTC) - SESSION_IDLE_TIMEOUT - SECOND)
    assert await accounts.current_user(token) is None
    assert await accounts.living({user.session_id}) == set()
    assert await accounts.sessions.page(user.user_id) == ([], False)


async def test_every_session_ends_after_a_month(accounts: Accounts, database: Database) -> None:
    """A session ends after a month, however often it is used."""
    token, user = await signed_in(accounts)
    await set_times(database, created_at=datetime.now(UTC) - SESSION_MAX_AGE + 60 * SECOND)
    assert await accounts.current_user(token) == user
    await set_times(database, created_at=datetime.now(UTC) - SESSION_MAX_AGE - SECOND)
    assert await accounts.current_user(token) is None
    assert await accounts.living({user.session_id}) == set()
    assert await accounts.sessions.page(user.user_id) == ([], False)


async def test_use_extends_a_session(accounts: Accounts, database: Database) -> None:
    """Use is recorded, but not at each request: most page views cost no write."""
    token, user = await signed_in(accounts)

    async def used(seen_at: datetime) -> datetime:
        await set_times(database, seen_at=seen_at)
        await accounts.current_user(token)
        ((session,), _) = await accounts.sessions.page(user.user_id)
        return session.seen_at

    lately = datetime.now(UTC) - SEEN_EVERY + 60 * SECOND
    assert await used(lately) == lately
    assert await used(datetime.now(UTC) - SEEN_EVERY - SECOND) > lately


async def test_a_login_deletes_expired_sessions(accounts: Accounts, database: Database) -> None:
    """A login deletes the expired sessions of all users."""
    await signed_in(accounts, "ada")
    await set_times(database, seen_at=datetime.now(UTC) - SESSION_IDLE_TIMEOUT - SECOND)
    await signed_in(accounts, "bob")
    assert await count_sessions(database) == 1


async def test_sessions_are_listed_the_last_used_first(
    accounts: Accounts, database: Database
) -> None:
    """A user sees all of their own sessions, the last used first, and no others."""
    (_, old), (_, new), (_, foreign) = [
        await signed_in(accounts, name) for name in ("ada", "ada", "bob")
    ]

    async def listed(user: CurrentUser) -> list[int]:
        sessions, _ = await accounts.sessions.page(user.user_id)
        return [session.id for session in sessions]

    assert await listed(old) == [new.session_id, old.session_id]
    async with database.transaction() as transaction:
        later = datetime.now(UTC) + 60 * SECOND
        await transaction.execute(
            update(Session).where(Session.id == old.session_id).values(seen_at=later)
        )
    assert await listed(old) == [old.session_id, new.session_id]
    assert await listed(foreign) == [foreign.session_id]


async def test_session_ids_are_never_reused(accounts: Accounts) -> None:
    """Ending a session from an outdated list never ends another session instead."""
    _, ended = await signed_in(accounts, "ada")
    await accounts.sign_out(ended, CLIENT)
    _, new = await signed_in(accounts, "bob")
    assert new.session_id > ended.session_id


async def test_simultaneous_requests_get_their_own_users(
    accounts: Accounts, database: Database
) -> None:
    """Look-ups that share a query are not mixed up, and cost few queries."""
    ada, bob = await signed_in(accounts, "ada"), await signed_in(accounts, "bob")
    looked_up: list[str] = []

    def count(*query: object) -> None:
        looked_up.append(str(query[2]))

    event.listen(database.engine.sync_engine, "before_cursor_execute", count)
    tokens = [ada[0], bob[0], "nobody's"] * 50
    answers = await asyncio.gather(*(accounts.current_user(token) for token in tokens))
    assert answers == [ada[1], bob[1], None] * 50
    assert sum("FROM sessions" in query for query in looked_up) <= 2


async def test_a_cancelled_lookup_leaves_the_others(accounts: Accounts) -> None:
    """A client that leaves during the query does not disturb the other requests."""
    token, user = await signed_in(accounts)
    impatient, patient = (asyncio.create_task(accounts.current_user(token)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == user


async def test_a_failed_query_fails_all_its_requests_only(
    accounts: Accounts, database: Database
) -> None:
    """Without the database every waiting request fails; afterwards look-ups work as before."""
    token, user = await signed_in(accounts)
    async with database.transaction() as transaction:
        await transaction.execute(text("ALTER TABLE sessions RENAME TO elsewhere"))
    asked = (accounts.current_user(name) for name in (token, token, "another"))
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, OperationalError)
    async with database.transaction() as transaction:
        await transaction.execute(text("ALTER TABLE elsewhere RENAME TO sessions"))
    assert await accounts.current_user(token) == user


async def test_only_its_user_ends_a_session(accounts: Accounts) -> None:
    """The id of another user's session is not enough to end it."""
    token, user = await signed_in(accounts, "ada")
    _, foreign = await signed_in(accounts, "bob")
    await accounts.end_session(foreign, << "PASSWORD, " if cookiecutter.sign_in == "passwords" >>user.session_id, CLIENT)
    assert await accounts.current_user(token) == user
    for _ in range(2):
        await accounts.end_session(user, << "PASSWORD, " if cookiecutter.sign_in == "passwords" >>user.session_id, CLIENT)
        assert await accounts.current_user(token) is None


async def test_a_new_login_ends_the_session_it_replaces(
    accounts: Accounts, database: Database
) -> None:
    """A browser that signs in again has one session, not two."""
    token, user = await signed_in(accounts)
#% if cookiecutter.sign_in == "passwords"
    assert await accounts.sign_in("ada", PASSWORD, CLIENT, user.session_id) is not None
#% else
    assert await sign_in(accounts, "ada", replaced=user.session_id)
#% endif
    assert await accounts.current_user(token) is None
    assert await count_sessions(database) == 1


async def test_an_account_has_a_limit_of_sessions(
    accounts: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login beyond the limit ends the least recently used session."""
    monkeypatch.setattr(sessions, "SESSIONS_PER_USER", 3)
    _, foreign = await signed_in(accounts, "bob")
    all_of_ada = [await signed_in(accounts, "ada") for _ in range(5)]
    still = [await accounts.current_user(token) is not None for token, _ in all_of_ada]
    assert still == [False, False, True, True, True]
    assert await accounts.living({foreign.session_id}) == {foreign.session_id}


async def test_sessions_are_listed_page_by_page(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page lists a limited number of sessions; a page after the last is empty."""
    monkeypatch.setattr(sessions, "SESSIONS_PER_PAGE", 2)
    users = [(await signed_in(accounts))[1] for _ in range(5)]
    ids = [user.session_id for user in reversed(users)]
    for number, expected, more in (
        (0, ids[:2], True),
        (1, ids[:2], True),
        (2, ids[2:4], True),
        (3, ids[4:], False),
        (4, [], False),
        (10**18, [], False),
    ):
        page, has_more = await accounts.sessions.page(users[0].user_id, number)
        assert ([session.id for session in page], has_more) == (expected, more)
