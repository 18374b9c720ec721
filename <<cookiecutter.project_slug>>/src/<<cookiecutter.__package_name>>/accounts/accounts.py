"""What can be done with accounts, and the rules about it."""

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, not_, select, update
from sqlalchemy.exc import IntegrityError

from ..database import Database
from . import passwords
from .tables import Session, User

IDLE = timedelta(days=7)
LIFETIME = timedelta(days=30)
# `seen_at` is written this often at most: a page that is read must not cost a write each time.
SEEN_EVERY = timedelta(minutes=5)


class AccountError(Exception):
    """What was asked for is against the rules; the message can be shown to the user."""


class Accounts:
    """The users and sessions kept in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._passwords = passwords.Passwords()

    def close(self) -> None:
        self._passwords.close()

    async def add_user(self, name: str, password: str) -> None:
        """Make an account. Raises AccountError if the name or password will not do."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name):
            raise AccountError(
                "A name has 1 to 64 characters of a-z, 0-9, '.', '_' and '-',"
                " and starts with a letter or digit."
            )
        check_new_password(password)
        user = User(
            name=name, password_hash=await self._passwords.hash(password), created_at=_now()
        )
        try:
            async with self._database.transaction() as transaction:
                transaction.add(user)
        except IntegrityError:
            raise AccountError(f"There is an account named {name} already.") from None

    async def sign_in(self, name: str, password: str, address: str, user_agent: str) -> str | None:
        """Return the token of a new session, or None if the name or the password is wrong."""
        async with self._database.transaction() as transaction:
            user = await transaction.scalar(select(User).where(User.name == name))
        right = await self._passwords.verify(password, user.password_hash if user else None)
        if user is None or not right:
            return None
        new_hash = None
        if self._passwords.outdated(user.password_hash):
            new_hash = await self._passwords.hash(password)
        session, token = _new_session(user, address, user_agent)
        async with self._database.transaction() as transaction:
            if new_hash:
                await transaction.execute(
                    update(User)
                    .where(User.id == user.id, User.password_hash == user.password_hash)
                    .values(password_hash=new_hash)
                )
            await transaction.execute(delete(Session).where(not_(_living())))
            transaction.add(session)
        return token

    async def session(self, token: str) -> Session | None:
        """Return the session of a token, its user loaded, or None if it has ended."""
        async with self._database.transaction() as transaction:
            session = await transaction.scalar(
                select(Session).where(Session.token_digest == _digest(token), _living())
            )
            if session is not None and session.seen_at < _now() - SEEN_EVERY:
                session.seen_at = _now()
        return session

    async def living(self, session_ids: Collection[int]) -> set[int]:
        """Return which of these sessions have not ended."""
        async with self._database.transaction() as transaction:
            found = await transaction.scalars(
                select(Session.id).where(Session.id.in_(session_ids), _living())
            )
            return set(found)

    async def sessions(self, user: User) -> Sequence[Session]:
        """Return the user's sessions, the last used first."""
        async with self._database.transaction() as transaction:
            found = await transaction.scalars(
                select(Session)
                .where(Session.user_id == user.id, _living())
                .order_by(Session.seen_at.desc(), Session.id.desc())
            )
            return found.all()

    async def end_session(self, user: User, session_id: int) -> None:
        """End one session of this user; a session of somebody else stays."""
        async with self._database.transaction() as transaction:
            await transaction.execute(
                delete(Session).where(Session.id == session_id, Session.user_id == user.id)
            )

    async def change_password(
        self, user: User, current: str, new: str, address: str, user_agent: str
    ) -> str:
        """Give the user a new password, end all sessions, return the token of a new one.

        Raises AccountError if the current password is wrong or the new one will not do.
        """
        if not await self._passwords.verify(current, user.password_hash):
            raise AccountError("The current password is not right.")
        check_new_password(new)
        new_hash = await self._passwords.hash(new)
        session, token = _new_session(user, address, user_agent)
        async with self._database.transaction() as transaction:
            await transaction.execute(
                update(User).where(User.id == user.id).values(password_hash=new_hash)
            )
            await transaction.execute(delete(Session).where(Session.user_id == user.id))
            transaction.add(session)
        return token


def check_new_password(password: str) -> None:
    """Raise AccountError if nobody should have this password."""
    if not passwords.SHORTEST <= len(password) <= passwords.LONGEST:
        raise AccountError(
            f"A password has {passwords.SHORTEST} to {passwords.LONGEST} characters."
        )


def _new_session(user: User, address: str, user_agent: str) -> tuple[Session, str]:
    token, now = secrets.token_urlsafe(32), _now()
    session = Session(
        token_digest=_digest(token),
        user_id=user.id,
        created_at=now,
        seen_at=now,
        address=address[:45],
        user_agent=user_agent[:255],
    )
    return session, token


def _living() -> ColumnElement[bool]:
    now = _now()
    return and_(Session.seen_at >= now - IDLE, Session.created_at >= now - LIFETIME)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _now() -> datetime:
    return datetime.now(UTC)
