"""The metrics: what they count, and what never becomes a label."""

import asyncio
import contextlib
import time

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from << cookiecutter.__package_name >>.runtime import metrics
from << cookiecutter.__package_name >>.runtime.metrics import Metrics

from ..browser import Browser
from ..running import Site
from ..waiting import until


async def samples(browser: Browser) -> dict[tuple[str, ...], float]:
    """Return all metrics as (name, label value, ...) and their values."""
    response = await browser.get("/metrics")
    assert response.code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.body.decode())
        for sample in family.samples
    }


async def test_requests_are_counted_by_route(browser: Browser) -> None:
    """A request counts for its route, method and status, and its duration is measured."""
    await browser.sign_in()
    for path in ("/account", "/account?page=2"):
        await browser.get(path)
    found = await samples(browser)
    assert found["http_requests_total", "GET", "/account", "200"] == 2
#% if cookiecutter.sign_in == "passwords"
    assert found["http_requests_total", "POST", "/login", "303"] == 1
#% else
    assert found["http_requests_total", "GET", "/login/callback", "303"] == 1
#% endif
    assert found["http_request_duration_seconds_count", "/account"] == 2
    assert found["http_request_duration_seconds_sum", "/account"] > 0


async def test_clients_cannot_create_labels(browser: Browser) -> None:
    """Unknown paths, files, queries and methods share their labels: memory stays bounded."""
    for n in range(5):
        await browser.get(f"/invented-{n}")
        await browser.get(f"/?invented-{n}")
        await browser.get(f"/static/invented-{n}")
        await browser.request(f"INVENTED{n}", "/")
    found = await samples(browser)
    assert not any("invented" in value.lower() for key in found for value in key)
    assert found["http_requests_total", "GET", "unmatched", "404"] == 5
    assert found["http_requests_total", "GET", "/static/(.*)", "404"] == 5
    assert found["http_requests_total", "other", "/", "405"] == 5


async def test_the_metrics_describe_the_process(site: Site, browser: Browser) -> None:
    """The metrics have the release and the current figures."""
    site.app.metrics.lag_seconds = 0.25
    await browser.sign_in()
    async with browser.websocket():
        await until(lambda: len(site.app.settings["live"]) == 1, "the socket to join")
        found = await samples(browser)
    assert found["service_info", site.settings.release] == 1
    assert found["http_requests_in_flight",] == 1, "the request for the metrics themselves"
    assert found["http_requests_in_flight_limit",] == site.settings.max_in_flight
    assert found["database_up",] == 1
    assert found["websocket_connections",] == 1
    assert found["event_loop_lag_seconds",] == 0.25
    assert found["process_start_time_seconds",] > 0


async def test_a_database_that_is_away_shows(site: Site, browser: Browser) -> None:
    """The metrics are answered without a database, and say that it does not answer."""

    async def ping() -> None:
        raise OperationalError("SELECT 1", None, Exception("away"))

    site.app.settings["ping"] = ping
    assert (await samples(browser))["database_up",] == 0


async def test_two_applications_have_separate_metrics() -> None:
    """No metric is in global state."""
    Metrics("1")
    assert b'release="2"' in Metrics("2").text()


async def test_the_lag_measures_a_blocked_event_loop() -> None:
    """A blocked event loop shows in the metrics."""
    held = metrics.LAG_INTERVAL_SECONDS + 0.2
    measured = Metrics("1")
    task = asyncio.create_task(measured.measure_lag())
    await asyncio.sleep(0)
    time.sleep(held)  # noqa: ASYNC251 - holding up the loop is the point
    await until(lambda: measured.lag_seconds > 0, "the lag to be measured")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert measured.lag_seconds >= 0.2
