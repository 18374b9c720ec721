# Part of the template: you need not edit this file.
"""What machines ask: is the process alive, may it get requests, how is it doing."""

import asyncio
import logging

from .handlers import BaseHandler

log = logging.getLogger(__name__)

DATABASE_SECONDS = 2


class Probe(BaseHandler):
    """A handler for machines. It is answered under overload, too, and logged only when it fails."""


class Healthz(Probe):
    """Alive. It depends on nothing else: a restart of the process would not bring a database back."""

    def get(self) -> None:
        self.write({"status": "alive"})


class Readyz(Probe):
    """May get requests: 200 if it is not draining and its database answers, otherwise 503.

    `settings["ping"]` asks the database.
    """

    async def get(self) -> None:
        status = await self._status()
        if status != "ready":
            self.set_status(503)
            log.warning("Not ready: %s", status, extra={"fields": {"request_id": self.request_id}})
        if "X-Real-IP" in self.request.headers:
            # Through a balancer. The reason may name hosts and roles, and a release its faults: both
            # are for who asks on this machine.
            self.write({"status": "ready" if status == "ready" else "not ready"})
        else:
            self.write({"status": status, "release": self.settings["release"]})

    async def _status(self) -> str:
        if self.settings["connections"].draining:
            return "draining"
        try:
            async with asyncio.timeout(DATABASE_SECONDS):
                await self.settings["ping"]()
        except TimeoutError:
            return f"the database does not answer within {DATABASE_SECONDS} s"
        except self.settings["unavailable_errors"] as error:
            return f"the database cannot be used: {self.settings['reason'](error)}"
        return "ready"


class MetricsText(Probe):
    """The metrics of this process. The balancer does not pass this address on."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.write(self.settings["metrics"].text())
