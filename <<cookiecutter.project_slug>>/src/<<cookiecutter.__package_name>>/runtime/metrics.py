# Part of the template: you need not edit this file.
"""The Prometheus metrics of one process.

The names follow Prometheus' rules: the unit stands at the end, `_total` on what only grows.
Requests are labelled by route (`/account`), never by path: a client must not be able to create
labels.
"""

import asyncio
import functools
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from tornado.web import RequestHandler

LAG_INTERVAL_SECONDS = 0.5
METHODS = frozenset(RequestHandler.SUPPORTED_METHODS)


class Metrics:
    """The counters of one process."""

    def __init__(
        self,
        release: str,
        in_flight: Callable[[], int] = lambda: 0,
        websockets: Callable[[], int] = lambda: 0,
        *,
        in_flight_limit: int = 0,
    ) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        Info("service", "What is running.", registry=self._registry).info({"release": release})
        self._requests = Counter(
            "http_requests_total",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the first byte of a request to the end of its answer.",
            ["route"],
            registry=self._registry,
        )
        Gauge(
            "http_requests_in_flight", "Requests being answered.", registry=self._registry
        ).set_function(in_flight)
        Gauge(
            "http_requests_in_flight_limit",
            "MAX_IN_FLIGHT: with more, requests are refused.",
            registry=self._registry,
        ).set(in_flight_limit)
        self.database_up = Gauge(
            "database_up", "1 if the database answers this process.", registry=self._registry
        )
        Gauge("websocket_connections", "Open WebSockets.", registry=self._registry).set_function(
            websockets
        )
        self._lag = Gauge(
            "event_loop_lag_seconds",
            "How late the event loop came back to a task that was due.",
            registry=self._registry,
        )
        # Finding them by their labels costs more than counting.
        self._counters = functools.cache(self._find_counters)
        self.lag_seconds = 0.0
        self._lag.set_function(lambda: self.lag_seconds)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request and how long it took."""
        if method not in METHODS:
            method = "other"
        requests, durations = self._counters(method, route, status)
        requests.inc()
        durations.observe(seconds)

    def _find_counters(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        return self._requests.labels(method, route, str(status)), self._seconds.labels(route)

    async def measure_lag(self) -> None:
        """Measure the event loop's lag until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL_SECONDS
            await asyncio.sleep(LAG_INTERVAL_SECONDS)
            self.lag_seconds = max(0.0, loop.time() - due)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
