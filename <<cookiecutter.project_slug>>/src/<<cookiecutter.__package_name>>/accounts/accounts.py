"""The operations on accounts, and their rules."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import update

from ..database import Database
from ..runtime.translations import N_
from .client import Client
from .errors import AccountError, Throttled
from .passwords import Passwords
from .security_log import record
from .sessions import CurrentUser, Sessions
from .tables import User
from .throttle import LoginThrottle
from .users import NAME, Users, typed_name


class Accounts:
    """The users and sessions kept in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._passwords = Passwords()
        self._throttle = LoginThrottle(database)
        self._changing: set[int] = set()
        self.users = Users(database)
        self.sessions = Sessions(database)
        self.current_user = self.sessions.current_user
        self.living = self.sessions.living

    def close(self) -> None:
        self._passwords.close()

    def give_up(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task such as `sign_in` before its next password job: its client has left."""
        self._passwords.give_up(task)

    # For users.

    async def sign_in(
        self, name: str, password: str, client: Client, replaced: int | None = None
    ) -> str | None:
        """Return the token of a new session, or None if the name or the password is wrong.

        The session `replaced`, of the same browser, ends. Raises Throttled after too many failed
        attempts on this account or from this address, and Busy when too many users are signing in.
        """
        attempt_of = self._throttle.sign_in(typed_name(name), client.address)
        try:
            with self._passwords.place():
                async with attempt_of as attempt:
                    token = await self._sign_in(name, password, client, replaced)
                    attempt.succeeded = token is not None
                    return token
        except Throttled:
            user = await self.users.find(name)
            record("sign_in_throttled", client, account=user.name if user else None)
            raise

    async def _sign_in(
        self, name: str, password: str, client: Client, replaced: int | None
    ) -> str | None:
        user = await self.users.find(name)
        right = await self._passwords.verify(password, user.password_hash if user else None)
        if user is None or not right:
            record("sign_in_failed", client, account=user.name if user else None)
            return None
        password_hash = user.password_hash
        if self._passwords.outdated(password_hash):
            password_hash = await self._passwords.hash(password)
        async with self._database.transaction() as transaction:
            if not await self.users.update_hash(transaction, user, password_hash):
                record("sign_in_refused", client, account=user.name)
                return None
            token = await self.sessions.start(transaction, user.id, client, replaced)
        record("signed_in", client, account=user.name)
        return token

    async def sign_out(self, user: CurrentUser, client: Client) -> None:
        """End the session of the current request."""
        async with self._database.transaction() as transaction:
            await self.sessions.end(transaction, user.user_id, user.session_id)
        record("signed_out", client, account=user.name)

    async def change_password(
        self, user: CurrentUser, current: str, new: str, client: Client
    ) -> str:
        """Set a new password, end all sessions of the user, return the token of a new session.

        Raises AccountError if the current password is wrong, the new one is unsuitable, or too many
        changes have failed.
        """
        if user.user_id in self._changing:
            raise AccountError(N_("Another change of this password is under way."))
        self._changing.add(user.user_id)
        try:
            async with self._confirmed(user, current, client) as found:
                new_hash = await self._passwords.new_hash(new, user.name)
                async with self._database.transaction() as transaction:
                    if not await self.users.update_hash(transaction, found, new_hash):
                        raise AccountError(N_("The password was changed elsewhere meanwhile."))
                    if user.session_id not in await self.sessions.end(transaction, user.user_id):
                        raise AccountError(N_("Your session has ended meanwhile. Sign in again."))
                    token = await self.sessions.start(transaction, user.user_id, client)
        finally:
            self._changing.discard(user.user_id)
        record("password_changed", client, account=user.name)
        return token

    async def end_session(
        self, user: CurrentUser, password: str, session_id: int | None, client: Client
    ) -> None:
        """End one session of this user or, without an id, all but the current one.

        Raises AccountError if the password is wrong, or too many attempts have failed.
        """
        async with self._confirmed(user, password, client), self._database.transaction() as write:
            but = user.session_id if session_id is None else None
            ended = await self.sessions.end(write, user.user_id, session_id, but=but)
        record("sessions_ended", client, account=user.name, sessions=list(ended))

    @asynccontextmanager
    async def _confirmed(
        self, user: CurrentUser, password: str, client: Client
    ) -> AsyncIterator[User]:
        """Check the password before the block; the attempt has failed if the block raises."""
        attempt_of = self._throttle.confirm(user.user_id)
        try:
            with self._passwords.place():
                async with attempt_of as attempt:
                    found = await self.users.get(user.user_id)
                    right = await self._passwords.verify(
                        password, found.password_hash if found else None
                    )
                    if found is None or not right:
                        raise AccountError(N_("The current password is wrong."))
                    yield found
                    attempt.succeeded = True
        except AccountError as error:
            record("confirmation_failed", client, account=user.name, reason=str(error))
            raise

    # For operators.

    async def add_user(self, name: str, password: str, client: Client) -> None:
        """Create an account. Raises AccountError if the name or the password is unsuitable."""
        if not NAME.fullmatch(name):
            raise AccountError(
                "A name has 1 to 64 characters of a-z, 0-9, '.', '_' and '-',"
                " and starts with a letter or digit."
            )
        await self.users.add(name, await self._passwords.new_hash(password, name))
        record("account_made", client, account=name)

    async def reset_password(self, name: str, password: str, client: Client) -> None:
        """Set a new password for the user and end all sessions."""
        user = await self.users.expect(name)
        password_hash = await self._passwords.new_hash(password, user.name)
        await self._set(user, password_hash=password_hash)
        await self._throttle.clear(user)
        record("password_reset", client, account=user.name)

    async def disable(self, name: str, client: Client) -> None:
        """End all sessions of the user and refuse further sign-ins."""
        user = await self.users.expect(name)
        await self._set(user, disabled_at=datetime.now(UTC))
        record("account_disabled", client, account=user.name)

    async def enable(self, name: str, client: Client) -> None:
        """Allow the user to sign in again."""
        user = await self.users.expect(name)
        await self._set(user, disabled_at=None)
        record("account_enabled", client, account=user.name)

    async def end_sessions(self, name: str, client: Client) -> int:
        """End all sessions of the user, and return their number."""
        user = await self.users.expect(name)
        async with self._database.transaction() as transaction:
            ended = await self.sessions.end(transaction, user.id)
        record("sessions_ended", client, account=user.name, sessions=list(ended))
        return len(ended)

    async def clear_attempts(self, name: str | None, client: Client) -> None:
        """Delete the failed attempts on this account or, without a name, all of them."""
        user = await self.users.expect(name) if name is not None else None
        await self._throttle.clear(user)
        record("attempts_cleared", client, account=user.name if user else None)

    async def _set(self, user: User, **values: object) -> None:
        """Change the account and end its sessions."""
        async with self._database.transaction() as transaction:
            await transaction.execute(update(User).where(User.id == user.id).values(**values))
            await self.sessions.end(transaction, user.id)
