"""How often somebody may try a password, counted in the database: for all processes together."""

import ipaddress
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select

from ..database import Database
from .tables import Attempt

WINDOW = timedelta(minutes=15)
PER_NAME = 10
PER_ADDRESS = 50


class Throttled(Exception):  # noqa: N818 - it reads as what it is
    """The limit is reached; `seconds` tells when the next attempt is possible."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many attempts. Try again in {-(-seconds // 60)} minutes.")
        self.seconds = seconds


class LoginThrottle:
    """The attempts of the last quarter of an hour."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, name: str, address: str) -> None:
        """Note an attempt on this account from this address. Raises Throttled.

        It counts as failed from the start, so that many at the same time cannot slip through.
        """
        limits = {_by_name(name): PER_NAME, _by_address(address): PER_ADDRESS}
        now = datetime.now(UTC)
        async with self._database.lock("attempts") as transaction:
            await transaction.execute(delete(Attempt).where(Attempt.at <= now - WINDOW))
            counts = await transaction.execute(
                select(Attempt.subject, func.count(), func.min(Attempt.at))
                .where(Attempt.subject.in_(limits))
                .group_by(Attempt.subject)
            )
            for subject, count, oldest in counts:
                if count >= limits[subject]:
                    raise Throttled(max(1, round((oldest + WINDOW - now).total_seconds())))
            transaction.add_all(Attempt(subject=subject, at=now) for subject in limits)

    async def succeeded(self, name: str, address: str) -> None:
        """Forget the attempts on this account, and this one from this address."""
        newest = (
            select(func.max(Attempt.id)).where(Attempt.subject == _by_address(address))
        ).scalar_subquery()
        async with self._database.lock("attempts") as transaction:
            await transaction.execute(delete(Attempt).where(Attempt.subject == _by_name(name)))
            await transaction.execute(delete(Attempt).where(Attempt.id == newest))


def _by_name(name: str) -> str:
    return f"name {name}"


def _by_address(address: str) -> str:
    """Return the address; of IPv6 its /64, which is what one customer is given."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "address unknown"
    if ip.version == 6:
        return f"address {ipaddress.ip_network((ip, 64), strict=False)}"
    return f"address {ip}"
