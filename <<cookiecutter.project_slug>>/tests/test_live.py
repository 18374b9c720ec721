"""What the live panel is told, and when it is sent away."""

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
    """ticking(): from now on the panels are told how the process is doing."""
    tasks: list[asyncio.Task[None]] = []
    yield lambda: tasks.append(asyncio.create_task(site.app.settings["live"].run()))
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_panel_is_told_how_its_process_is_doing(site: Site, browser: Browser) -> None:
    """A message names the process and its release, and has the figures of the moment."""
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


async def test_a_panel_closes_when_its_session_has_ended(
    site: Site, ticking: Callable[[], None]
) -> None:
    """Who is signed out elsewhere is soon told so here; everybody else stays connected."""
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


async def test_a_database_that_is_away_signs_nobody_out(
    site: Site, browser: Browser, ticking: Callable[[], None], databases: Databases
) -> None:
    """As long as nobody can tell whether a session has ended, its panel goes on."""
    await browser.sign_in()
    async with browser.websocket() as socket:
        await site.app.settings["database"].close()
        databases.drop(site.settings.database_url)
        ticking()
        # The first comes at once, the second just before the sessions are checked.
        for _ in range(3):
            assert await next_message(socket) is not None


async def test_a_draining_process_sends_its_panels_away(site: Site, browser: Browser) -> None:
    """Panels that are open, or opened late, are told to try again: another process takes them."""
    await browser.sign_in()
    async with browser.websocket() as early:
        await until(lambda: len(site.app.settings["live"]) == 1, "the socket to join")
        site.app.websockets.close()
        async with browser.websocket() as late:
            for socket in (early, late):
                assert await close_code(socket) == SERVICE_RESTART == 1012


async def test_a_panel_that_comes_to_a_drain(site: Site, browser: Browser) -> None:
    """It gets no answer and is not waited for: the balancer asks another process instead."""
    await browser.sign_in()
    site.app.connections.draining = True
    with pytest.raises(HTTPStreamClosedError):
        async with browser.websocket():
            pass
    assert site.app.connections.in_flight == 0
