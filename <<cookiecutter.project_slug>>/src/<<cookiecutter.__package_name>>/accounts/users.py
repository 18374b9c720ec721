"""Users: finding, adding and updating them."""

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import CursorResult, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database
from .errors import AccountError
from .tables import User

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def typed_name(name: str) -> str:
    """Normalize a typed name: users type capitals, spaces and full-width letters."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


class Users:
    """The users kept in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[User]:
        async with self._database.transaction() as transaction:
            return (await transaction.scalars(select(User).order_by(User.name))).all()

    async def get(self, user_id: int) -> User | None:
        async with self._database.transaction() as transaction:
            return await transaction.get(User, user_id)

    async def find(self, name: str) -> User | None:
        """Return the user of a typed name, or None."""
        # An impossible name costs the same query, but itself never reaches the database.
        name = typed_name(name)
        wanted = name if NAME.fullmatch(name) else ""
        async with self._database.transaction() as transaction:
            return await transaction.scalar(select(User).where(User.name == wanted))

    async def expect(self, name: str) -> User:
        """Return the user of this name. Raises AccountError if there is none."""
        if user := await self.find(name):
            return user
        raise AccountError("There is no account named {name!r}.", name=name)

    async def add(self, name: str, password_hash: str) -> None:
        """Create an account. Raises AccountError if the name is taken."""
        user = User(name=name, password_hash=password_hash, created_at=datetime.now(UTC))
        try:
            async with self._database.transaction() as transaction:
                transaction.add(user)
        except IntegrityError:
            raise AccountError("An account named {name} already exists.", name=name) from None

    async def update_hash(self, transaction: AsyncSession, user: User, password_hash: str) -> bool:
        """Write the hash unless the user has changed since it was read; return whether it did.

        In between the password may have changed, or the account may have been disabled. The write
        waits for a concurrent change, and the next change waits for this transaction.
        """
        result = await transaction.execute(
            update(User)
            .where(
                User.id == user.id,
                User.password_hash == user.password_hash,
                User.disabled_at.is_(None),
            )
            .values(password_hash=password_hash)
        )
        assert isinstance(result, CursorResult)
        return result.rowcount == 1
