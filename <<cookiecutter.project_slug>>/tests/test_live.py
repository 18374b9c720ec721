"""The live panel: its messages, and when its socket closes."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable

import pytest
from tornado.simple_httpclient import HTTPStreamClosedError

from << cookiecutter.__package_name >>.live import SIGNED_OUT
from << cookiecutter.__package_name >>.runtime.websockets import SERVICE_RESTART

from .browser import Browser, close_code, next_message
from .databases import Databases
from .running import Site
from .waiting import until


@pytest.fixture
async def ticking(site: Site) -> AsyncIterator[Callable[[], None]]:
    """ticking(): starts the messages to the panels."""
    tasks: list[asyncio.Task[None]] = []
    yield lambda: tasks.append(asyncio.create_task(site.app.settings["live"].run()))
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_panel_gets_the_figures_of_its_process(site: Site, browser: Browser) -> None:
    """A message has the process, its release and the current figures."""
    await browser.sign_in()
    site.app.metrics.lag_seconds = 0.0123456
    async with browser.websocket() as socket:
        message = json.loads(await next_message(socket) or "")
    assert message == {
        "port": site.settings.port,
        "pid": os.getpid(),
        "release": site.settings.release,
        "uptime_seconds": message["uptime_seconds"],
        "connections": 1,
        "lag_milliseconds": 12.35,
    }
    assert message["uptime_seconds"] >= 0


async def test_a_panel_closes_when_its_session_ends(
    site: Site, ticking: Callable[[], None]
) -> None:
    """A panel closes soon after its session ends elsewhere; the other panels stay open."""
    here, there = site.browser(), site.browser()
    await here.sign_in("ada")
    await there.sign_in("bob")
    async with here.websocket() as closing, there.websocket() as staying:
        here_again = site.browser()
        here_again.cookies.update(here.cookies)
        await here_again.post("/logout")
        ticking()
        assert await close_code(closing) == SIGNED_OUT
        assert await next_message(staying) is not None


async def test_panels_stay_open_without_the_database(
    site: Site, browser: Browser, ticking: Callable[[], None], databases: Databases
) -> None:
    """A panel stays open while the database cannot tell whether its session has ended."""
    await browser.sign_in()
    async with browser.websocket() as socket:
        await site.app.settings["database"].close()
        databases.drop(site.settings.database_url)
        ticking()
        # The first comes at once, the second just before the sessions are checked.
        for _ in range(3):
            assert await next_message(socket) is not None


async def test_a_draining_process_closes_its_panels(site: Site, browser: Browser) -> None:
    """Panels, also those opened late, close with the code that makes browsers reconnect."""
    await browser.sign_in()
    async with browser.websocket() as early:
        await until(lambda: len(site.app.settings["live"]) == 1, "the socket to join")
        site.app.websockets.close()
        async with browser.websocket() as late:
            for socket in (early, late):
                assert await close_code(socket) == SERVICE_RESTART == 1012


async def test_a_draining_process_accepts_no_panel(site: Site, browser: Browser) -> None:
    """The request gets no answer, so that the balancer tries another process."""
    await browser.sign_in()
    site.app.connections.draining = True
    with pytest.raises(HTTPStreamClosedError):
        async with browser.websocket():
            pass
    assert site.app.connections.in_flight == 0
