"""Limits on password attempts, counted in the database for all processes together."""

import asyncio
import hashlib
import ipaddress
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from sqlalchemy import Delete, Update, and_, case, delete, func, not_, select, update

from ..database import DATABASE_ERRORS, Database
from .errors import Busy, Throttled
from .tables import Attempt, User

WINDOW = timedelta(minutes=15)
PER_NAME = 10
PER_ADDRESS = 50
# A provider gives each customer at least an IPv6 /64, and many a /48.
NETWORKS = {64: PER_ADDRESS, 48: 5 * PER_ADDRESS}
# An attempt that is open for longer belongs to a dead process and counts as failed.
OPEN_SECONDS = 60
# How long an attempt waits for open ones to end, and how often it looks.
WAIT_SECONDS = 10
LOOK_SECONDS = 0.1


@dataclass
class Outcome:
    """The outcome of an attempt: failed, unless the block sets `succeeded`."""

    succeeded: bool = False


class LoginThrottle:
    """The attempts of the last quarter of an hour."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Of simultaneous attempts on one account, one at a time queries the database.
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def sign_in(self, name: str, address: str) -> AsyncIterator[Outcome]:
        """Count an attempt to sign in to this account from this address.

        The attempt is open during the block, and failed afterwards unless `succeeded` is set; a
        success also deletes the failed attempts on this account. Raises Throttled after too many
        failures, and Busy when too many attempts stay open for too long.
        """
        limits = {_by_name(name): PER_NAME, **_by_address(address)}
        async with self._attempt(limits) as outcome:
            yield outcome

    @asynccontextmanager
    async def confirm(self, user_id: int) -> AsyncIterator[Outcome]:
        """Count an attempt of a signed-in user to confirm an action by the password.

        Failed sign-ins to the account do not count here.
        """
        async with self._attempt({_by_user(user_id): PER_NAME}) as outcome:
            yield outcome

    async def clear(self, user: User | None) -> None:
        """Delete the failed attempts on one account or, without one, all of them."""
        forget = delete(Attempt)
        if user is not None:
            forget = forget.where(Attempt.subject.in_([_by_name(user.name), _by_user(user.id)]))
        async with self._database.lock("attempts") as transaction:
            await transaction.execute(forget)

    @asynccontextmanager
    async def _attempt(self, limits: Mapping[str, int]) -> AsyncIterator[Outcome]:
        subject = next(iter(limits))
        attempt = Attempt.id.in_(await self._begin(subject, limits))
        outcome = Outcome()
        end: Update | Delete = update(Attempt).where(attempt).values(is_open=False)
        try:
            yield outcome
        except DATABASE_ERRORS:
            # No password was tried.
            end = delete(Attempt).where(attempt)
            raise
        finally:
            if outcome.succeeded:
                failed = and_(Attempt.subject == subject, not_(Attempt.is_open))
                end = delete(Attempt).where(attempt | failed)
            async with self._database.lock("attempts") as transaction:
                await transaction.execute(end)

    async def _begin(self, subject: str, limits: Mapping[str, int]) -> Sequence[int]:
        deadline = time.monotonic() + WAIT_SECONDS
        async with self._asking.setdefault(subject, asyncio.Lock()):
            while not (ids := await self._note(limits)):
                if time.monotonic() > deadline:
                    raise Busy
                await asyncio.sleep(LOOK_SECONDS)
            return ids

    async def _note(self, limits: Mapping[str, int]) -> Sequence[int]:
        """Record an open attempt; return no ids if others must end first. Raises Throttled."""
        now = datetime.now(UTC)
        is_open = and_(Attempt.is_open, Attempt.at > now - timedelta(seconds=OPEN_SECONDS))
        counted = (
            select(
                Attempt.subject,
                func.count(),
                func.count(case((not_(is_open), 1))),
                func.min(Attempt.at),
            )
            .where(Attempt.subject.in_(limits))
            .group_by(Attempt.subject)
        )
        async with self._database.lock("attempts") as transaction:
            await transaction.execute(delete(Attempt).where(Attempt.at <= now - WINDOW))
            # These were recorded while the clock was ahead.
            await transaction.execute(update(Attempt).where(Attempt.at > now).values(at=now))
            room = True
            for subject, count, failed, oldest in await transaction.execute(counted):
                if failed >= limits[subject]:
                    raise Throttled(max(1, round((oldest + WINDOW - now).total_seconds())))
                room = room and count < limits[subject]
            if not room:
                return []
            attempts = [Attempt(subject=subject, at=now, is_open=True) for subject in limits]
            transaction.add_all(attempts)
            await transaction.flush()
            return [attempt.id for attempt in attempts]


def _by_name(name: str) -> str:
    """Return the subject for a typed name: a digest, as users may type anything."""
    return f"name {hashlib.sha256(name.encode(errors='replace')).hexdigest()}"


def _by_user(user_id: int) -> str:
    return f"user {user_id}"


def _by_address(address: str) -> dict[str, int]:
    """Return the subjects for an address, with their limits; for IPv6, its networks."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return {"address unknown": PER_ADDRESS}
    if ip.version == 4:
        return {f"address {ip}": PER_ADDRESS}
    if ip.ipv4_mapped:
        return {f"address {ip.ipv4_mapped}": PER_ADDRESS}
    return {
        f"address {ipaddress.ip_network((ip, bits), strict=False)}": limit
        for bits, limit in NETWORKS.items()
    }
