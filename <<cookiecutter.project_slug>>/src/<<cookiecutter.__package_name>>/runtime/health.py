"""What machines ask: is the process alive, may it get requests, how is it doing."""

import asyncio

from ..database import DATABASE_ERRORS, reason
from .handlers import Uniform

DATABASE_SECONDS = 2


class Healthz(Uniform):
    """Alive. Asks nothing of anybody: a process must not be restarted because of its database."""

    def get(self) -> None:
        self.write({"status": "alive"})


class Readyz(Uniform):
    """May get requests: 200 if it is not draining and its database answers, otherwise 503."""

    async def get(self) -> None:
        status = await self._status()
        self.set_status(200 if status == "ready" else 503)
        self.write({"status": status, "release": self.application.release})

    async def _status(self) -> str:
        if self.application.draining:
            return "draining"
        try:
            async with asyncio.timeout(DATABASE_SECONDS):
                await self.application.database.ping()
        except TimeoutError:
            return f"the database does not answer within {DATABASE_SECONDS} s"
        except DATABASE_ERRORS as error:
            return f"the database cannot be used: {reason(error)}"
        return "ready"


class MetricsText(Uniform):
    """The metrics of this process. The balancer does not pass this address on."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.write(self.application.metrics.text())
