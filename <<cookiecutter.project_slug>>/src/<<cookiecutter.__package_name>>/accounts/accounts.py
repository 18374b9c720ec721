"""What can be done with accounts, and the rules about it."""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, not_, select, update
from sqlalchemy.exc import IntegrityError

from ..database import Database
from .passwords import Passwords
from .tables import Session, User
from .throttle import LoginThrottle

SESSION_IDLE_TIMEOUT = timedelta(days=7)
SESSION_MAX_AGE = timedelta(days=30)
# `seen_at` is written this often at most: a page that is read must not cost a write each time.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SEEN_EVERY = timedelta(minutes=5)


class AccountError(Exception):
    """What was asked for is against the rules; the message can be shown to the user."""


@dataclass(frozen=True, slots=True)
class CurrentUser:
    """Who a request comes from, and by which session."""

    user_id: int
    name: str
    session_id: int


class Accounts:
    """The users and sessions kept in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._attempts = LoginThrottle(database)
        self._passwords = Passwords()
        self._waiting: dict[bytes, asyncio.Future[CurrentUser | None]] = {}
        self._looking: asyncio.Task[None] | None = None

    def close(self) -> None:
        self._passwords.close()

    async def add_user(self, name: str, password: str) -> None:
        """Make an account. Raises AccountError if the name or password will not do."""
        if not NAME.fullmatch(name):
            raise AccountError(
                "A name has 1 to 64 characters of a-z, 0-9, '.', '_' and '-',"
                " and starts with a letter or digit."
            )
        password_hash = await self._new_hash(password, name)
        user = User(name=name, password_hash=password_hash, created_at=_now())
        try:
            async with self._database.transaction() as transaction:
                transaction.add(user)
        except IntegrityError:
            raise AccountError(f"There is an account named {name} already.") from None

    async def sign_in(self, name: str, password: str, address: str, user_agent: str) -> str | None:
        """Return the token of a new session, or None if the name or the password is wrong.

        Raises Throttled when this account or this address has failed too often of late.
        """
        name = name if NAME.fullmatch(name) else ""
        await self._attempts.begin(name, address)
        async with self._database.transaction() as transaction:
            user = await transaction.scalar(select(User).where(User.name == name))
        right = await self._passwords.verify(password, user.password_hash if user else None)
        if user is None or not right:
            return None
        await self._attempts.succeeded(name, address)
        better_hash = None
        if self._passwords.outdated(user.password_hash):
            better_hash = await self._passwords.hash(password)
        session, token = _new_session(user.id, address, user_agent)
        async with self._database.transaction() as transaction:
            if better_hash:
                await transaction.execute(
                    update(User)
                    .where(User.id == user.id, User.password_hash == user.password_hash)
                    .values(password_hash=better_hash)
                )
            await transaction.execute(delete(Session).where(not_(_living())))
            transaction.add(session)
        return token

    async def current_user(self, token: str) -> CurrentUser | None:
        """Return who the token belongs to, or None if its session has ended.

        Requests that arrive while the database is asked are answered together by the next
        question, so that many at a time cost little more than one.
        """
        digest = _digest(token)
        if digest not in self._waiting:
            self._waiting[digest] = asyncio.get_running_loop().create_future()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_up())
        # One who gives up must not take the answer from the others.
        return await asyncio.shield(self._waiting[digest])

    async def living(self, session_ids: Collection[int]) -> set[int]:
        """Return which of these sessions have not ended."""
        async with self._database.transaction() as transaction:
            found = await transaction.scalars(
                select(Session.id).where(Session.id.in_(session_ids), _living())
            )
            return set(found)

    async def sessions(self, user_id: int) -> Sequence[Session]:
        """Return the user's sessions, the last used first."""
        async with self._database.transaction() as transaction:
            found = await transaction.scalars(
                select(Session)
                .where(Session.user_id == user_id, _living())
                .order_by(Session.seen_at.desc(), Session.id.desc())
            )
            return found.all()

    async def end_session(self, user_id: int, session_id: int) -> None:
        """End one session of this user; a session of somebody else stays."""
        async with self._database.transaction() as transaction:
            await transaction.execute(
                delete(Session).where(Session.id == session_id, Session.user_id == user_id)
            )

    async def change_password(
        self, user_id: int, current: str, new: str, address: str, user_agent: str
    ) -> str:
        """Give the user a new password, end all sessions, return the token of a new one.

        Raises AccountError if the current password is wrong or the new one will not do, and
        Throttled as `sign_in` does.
        """
        async with self._database.transaction() as transaction:
            user = (await transaction.scalars(select(User).where(User.id == user_id))).one()
        await self._attempts.begin(user.name, address)
        if not await self._passwords.verify(current, user.password_hash):
            raise AccountError("The current password is not right.")
        await self._attempts.succeeded(user.name, address)
        new_hash = await self._new_hash(new, user.name)
        session, token = _new_session(user_id, address, user_agent)
        async with self._database.transaction() as transaction:
            await transaction.execute(
                update(User).where(User.id == user_id).values(password_hash=new_hash)
            )
            await transaction.execute(delete(Session).where(Session.user_id == user_id))
            transaction.add(session)
        return token

    async def _new_hash(self, password: str, name: str) -> str:
        if problem := await self._passwords.find_problem(password, name):
            raise AccountError(problem)
        return await self._passwords.hash(password)

    async def _look_up(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            try:
                found = await self._find(waiting)
            except Exception as error:  # whoever waits gets it
                for future in waiting.values():
                    future.set_exception(error)
            else:
                for digest, future in waiting.items():
                    future.set_result(found.get(digest))

    async def _find(self, digests: Collection[bytes]) -> dict[bytes, CurrentUser]:
        query = (
            select(Session.token_digest, Session.seen_at, User.id, User.name, Session.id)
            .join(User, User.id == Session.user_id)
            .where(Session.token_digest.in_(digests), _living())
        )
        found, unseen = {}, []
        async with self._database.transaction() as transaction:
            for digest, seen_at, user_id, name, session_id in await transaction.execute(query):
                found[digest] = CurrentUser(user_id, name, session_id)
                if seen_at < _now() - SEEN_EVERY:
                    unseen.append(session_id)
            if unseen:
                await transaction.execute(
                    update(Session).where(Session.id.in_(unseen)).values(seen_at=_now())
                )
        return found


def _new_session(user_id: int, address: str, user_agent: str) -> tuple[Session, str]:
    token, now = secrets.token_urlsafe(32), _now()
    session = Session(
        token_digest=_digest(token),
        user_id=user_id,
        created_at=now,
        seen_at=now,
        address=address[:45],
        user_agent=user_agent[:255],
    )
    return session, token


def _living() -> ColumnElement[bool]:
    now = _now()
    return and_(
        Session.seen_at >= now - SESSION_IDLE_TIMEOUT, Session.created_at >= now - SESSION_MAX_AGE
    )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _now() -> datetime:
    return datetime.now(UTC)
