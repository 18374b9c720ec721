# Part of the template: you need not edit this file.
"""The probes for machines: liveness, readiness, metrics."""

import asyncio
import logging
from typing import Any

<% if cookiecutter.__cluster %>
from tornado.web import HTTPError

<% endif %>
from .handlers import BaseHandler

log = logging.getLogger(__name__)

DATABASE_SECONDS = 2


async def database_fault(settings: dict[str, Any]) -> str | None:
    """Return what is wrong with the database, None if it answers within DATABASE_SECONDS."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            await settings["ping"]()
    except TimeoutError:
        return f"the database does not answer within {DATABASE_SECONDS} s"
    except settings["unavailable_errors"] as error:
        return f"the database cannot be used: {settings['reason'](error)}"
    return None


class Probe(BaseHandler):
    """A handler for machines: answered under overload, too, and logged only when it fails."""


class Healthz(Probe):
    """Liveness. It ignores the database, which a restart of the process would not repair."""

    def get(self) -> None:
        self.write({"status": "alive"})


class Readyz(Probe):
    """Readiness: 200 if the process is not draining and its database answers, otherwise 503.

    `settings["ping"]` asks the database.
    """

    async def get(self) -> None:
        status = await self._status()
        if status != "ready":
            self.set_status(503)
            log.warning("Not ready: %s", status, extra={"fields": {"request_id": self.request_id}})
        if "X-Real-IP" in self.request.headers:
            # Through a balancer. The reason may name hosts and roles, and what runs its faults: both
            # are for requests from this machine.
            self.write({"status": "ready" if status == "ready" else "not ready"})
        else:
            self.write({"status": status} | self.settings["provenance"])

    async def _status(self) -> str:
        if self.settings["connections"].draining:
            return "draining"
        return await database_fault(self.settings) or "ready"


class MetricsText(Probe):
    """The metrics of this process. The balancer does not forward this path."""

    async def get(self) -> None:
<% if cookiecutter.__cluster %>
        # An ingress passes on all addresses. Prometheus asks the process itself.
        if self.request.headers.keys() & {"X-Real-Ip", "X-Forwarded-For"}:
            raise HTTPError(404)
<% endif %>
        metrics = self.settings["metrics"]
        metrics.database_up.set(await database_fault(self.settings) is None)
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.write(metrics.text())
