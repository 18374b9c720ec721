"""Sessions: the browsers that are signed in."""

import asyncio
import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain

from sqlalchemy import ColumnElement, and_, delete, not_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database
from .client import Client
from .tables import Session, User

SESSION_IDLE_TIMEOUT = timedelta(days=7)
SESSION_MAX_AGE = timedelta(days=30)
# Per account; a further sign-in ends the least recently used session.
SESSIONS_PER_USER = 100
SESSIONS_PER_PAGE = 20
# `seen_at` is written at most this often, so that most page views cost no write.
SEEN_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class CurrentUser:
    """The user and the session of a request."""

    user_id: int
    name: str
    session_id: int


class Sessions:
    """The sessions kept in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[bytes, list[asyncio.Future[CurrentUser | None]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def current_user(self, token: str) -> CurrentUser | None:
        """Return the user of a session token, or None if the session has ended.

        Requests that arrive during a query share the next one, so that many at a time cost little
        more than one.
        """
        # One for each request: one that gives up does not take the answer from the others.
        answer: asyncio.Future[CurrentUser | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(_digest(token), []).append(answer)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_up())
        return await answer

    async def living(self, session_ids: Collection[int]) -> set[int]:
        """Return which of these sessions have not ended."""
        async with self._database.transaction() as transaction:
            found = await transaction.scalars(
                select(Session.id).where(Session.id.in_(session_ids), _living())
            )
            return set(found)

    async def page(self, user_id: int, page: int = 1) -> tuple[Sequence[Session], bool]:
        """Return a page of the user's sessions, the last used first, and whether more follow.

        Pages count from 1; a page after the last one is empty.
        """
        skipped = min(max(page - 1, 0) * SESSIONS_PER_PAGE, SESSIONS_PER_USER)
        async with self._database.transaction() as transaction:
            found = await transaction.scalars(
                select(Session)
                .where(Session.user_id == user_id, _living())
                .order_by(Session.seen_at.desc(), Session.id.desc())
                .offset(skipped)
                .limit(SESSIONS_PER_PAGE + 1)
            )
            sessions = found.all()
        return sessions[:SESSIONS_PER_PAGE], len(sessions) > SESSIONS_PER_PAGE

#% if cookiecutter.sign_in == "passwords"
    async def start(
        self, transaction: AsyncSession, user_id: int, client: Client, replaced: int | None = None
    ) -> str:
#% else
    async def start(
        self,
        transaction: AsyncSession,
        user_id: int,
        client: Client,
        replaced: int | None,
        id_token: str,
    ) -> str:
#% endif
        """Start a session in place of `replaced`, and return its token.

        This also deletes expired sessions, and the user's sessions above the limit.
        """
        kept = (
            select(Session.id)
            .where(Session.user_id == user_id)
            .order_by(Session.seen_at.desc(), Session.id.desc())
            .limit(SESSIONS_PER_USER - 1)
        )
        excess = and_(Session.user_id == user_id, Session.id.not_in(kept))
        await transaction.execute(
            delete(Session).where(not_(_living()) | (Session.id == replaced) | excess)
        )
        token, now = secrets.token_urlsafe(32), _now()
        transaction.add(
            Session(
                token_digest=_digest(token),
                user_id=user_id,
                created_at=now,
                seen_at=now,
                address=client.address[:45],
                user_agent=client.user_agent[:255],
#% if cookiecutter.sign_in == "sso"
                id_token=id_token,
#% endif
            )
        )
        return token

    async def end(
        self,
        transaction: AsyncSession,
        user_id: int,
        session_id: int | None = None,
        *,
        but: int | None = None,
    ) -> Sequence[int]:
        """End one session of this user, or all of them except `but`, and return their ids."""
        ending = delete(Session).where(Session.user_id == user_id)
        if session_id is not None:
            ending = ending.where(Session.id == session_id)
        if but is not None:
            ending = ending.where(Session.id != but)
        return (await transaction.scalars(ending.returning(Session.id))).all()

#% if cookiecutter.sign_in == "sso"
    async def id_token(self, transaction: AsyncSession, session_id: int) -> str | None:
        """Return the provider's ID token of a session, or None if the session has ended."""
        return await transaction.scalar(select(Session.id_token).where(Session.id == session_id))

#% endif
    async def _look_up(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            try:
                found = await self._find(waiting)
            except Exception as error:  # each request that waits gets it
                for answer in chain.from_iterable(waiting.values()):
                    if not answer.cancelled():
                        answer.set_exception(error)
            else:
                for digest, answers in waiting.items():
                    for answer in answers:
                        if not answer.cancelled():
                            answer.set_result(found.get(digest))

    async def _find(self, digests: Collection[bytes]) -> dict[bytes, CurrentUser]:
        query = (
            select(Session.token_digest, Session.seen_at, User.id, User.name, Session.id)
            .join(User, User.id == Session.user_id)
            .where(Session.token_digest.in_(digests), User.disabled_at.is_(None), _living())
        )
        found, unseen = {}, []
        # Not a transaction of the ORM: without begin and commit the query takes half the time, and
        # every page of a signed-in user waits for it.
        async with self._database.engine.connect() as connection:
            rows = await connection.execute(query)
        for digest, seen_at, user_id, name, session_id in rows:
            found[digest] = CurrentUser(user_id, name, session_id)
            if seen_at < _now() - SEEN_EVERY:
                unseen.append(session_id)
        if unseen:
            async with self._database.transaction() as transaction:
                await transaction.execute(
                    update(Session).where(Session.id.in_(unseen)).values(seen_at=_now())
                )
        return found


def _living() -> ColumnElement[bool]:
    now = _now()
    return and_(
        Session.seen_at >= now - SESSION_IDLE_TIMEOUT, Session.created_at >= now - SESSION_MAX_AGE
    )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _now() -> datetime:
    return datetime.now(UTC)
