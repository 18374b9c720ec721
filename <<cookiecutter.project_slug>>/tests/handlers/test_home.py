"""The home page."""

import re

from ..browser import Browser
from ..running import Site

HOSTILE = """</title><script>alert("1")</script>{{ 1 + 1 }} & '"""


async def test_strangers_are_asked_to_sign_in(browser: Browser) -> None:
    """Without a session the page shows the way to sign in, and no panel."""
    page = (await browser.get("/")).body.decode()
    assert 'href="/login"' in page
    assert "live-panel" not in page


async def test_users_are_greeted(browser: Browser) -> None:
    """A signed-in user sees their name, the panel, its script and the way out."""
    await browser.sign_in()
    page = (await browser.get("/")).body.decode()
    assert "Hello, ada" in page
    assert 'id="live-panel"' in page
    assert "/static/live.js?v=" in page
    assert 'action="/logout"' in page


async def test_names_are_text(site: Site, browser: Browser) -> None:
    """Whatever the service is called, its pages show the name and never run it."""
    site.app.settings["template_names"] |= {"service_name": HOSTILE, "description": HOSTILE}
    shown = (
        "&lt;/title&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;{{ 1 + 1 }} &amp; &#x27;"
    )
    for path in ("/", "/login", "/nothing"):
        page = (await browser.get(path)).body.decode().replace("&#39;", "&#x27;")
        assert shown in page
        assert "alert(" not in page.replace(shown, "")


async def test_pages_need_nothing_that_the_policy_forbids(site: Site, browser: Browser) -> None:
    """No script or style stands in a page, and nothing comes from another host."""
    site.app.settings["template_names"] |= {"service_name": "Service", "description": "A service"}
    await browser.sign_in()
    for path in ("/", "/account", "/nothing"):
        page = (await browser.get(path)).body.decode()
        assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", page) == []
        assert re.findall(r'(?:src|href|action)="(?!/[^/]|/")', page) == ['href="#content'[:6]]
