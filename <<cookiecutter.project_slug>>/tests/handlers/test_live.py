"""The WebSocket behind the live panel: which browsers may open it."""

import pytest
from tornado.httpclient import HTTPClientError

from << cookiecutter.__package_name >>.live import SIGNED_OUT

from ..browser import Browser, close_code
from ..running import Site
from ..waiting import until


async def test_the_panel_needs_a_session(browser: Browser) -> None:
    """Without a session the socket sends no figures, and closes with a code that says why."""
    async with browser.websocket() as socket:
        assert await close_code(socket) == SIGNED_OUT == 4401


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}], ids=str
)
async def test_another_site_gets_no_figures(browser: Browser, headers: dict[str, str]) -> None:
    """A page on another site cannot open the socket with its visitor's cookie."""
    await browser.sign_in()
    with pytest.raises(HTTPClientError, match="403"):
        async with browser.websocket(headers):
            pass


async def test_a_page_of_this_site_joins(site: Site, browser: Browser) -> None:
    """A signed-in browser joins, and leaves when its tab is closed."""
    await browser.sign_in()
    async with browser.websocket({"Origin": site.url}):
        await until(lambda: len(site.app.settings["live"]) == 1, "the socket to join")
    await until(lambda: len(site.app.settings["live"]) == 0, "the socket to leave")


async def test_a_plain_request_is_refused(browser: Browser) -> None:
    """A plain HTTP request to the WebSocket's URL gets 400."""
    assert (await browser.get("/live")).code == 400
