"""The WebSocket behind the live panel: who gets in."""

import pytest
from tornado.httpclient import HTTPClientError

from << cookiecutter.__package_name >>.live import SIGNED_OUT

from ..browser import Browser, close_code
from ..running import Site
from ..waiting import until


async def test_strangers_are_told_to_sign_in(browser: Browser) -> None:
    """Who is not signed in gets no figures but a code that says why."""
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
    """The browser of a signed-in user joins, and leaves again when the tab is closed."""
    await browser.sign_in()
    async with browser.websocket({"Origin": site.url}):
        await until(lambda: len(site.app.settings["live"]) == 1, "the socket to join")
    await until(lambda: len(site.app.settings["live"]) == 0, "the socket to leave")


async def test_a_plain_request_is_refused(browser: Browser) -> None:
    """An address that only speaks WebSocket says so."""
    assert (await browser.get("/live")).code == 400
