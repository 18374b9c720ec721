"""The home page."""

import re

from ..browser import Browser
from ..running import Site

HOSTILE = """</title><script>alert("1")</script>{{ 1 + 1 }} & '"""


async def test_home_without_a_session_links_to_the_login(browser: Browser) -> None:
    """Without a session the page links to the login and has no panel."""
    page = (await browser.get("/")).body.decode()
    assert 'href="/login"' in page
    assert "live-panel" not in page


async def test_home_greets_the_user(browser: Browser) -> None:
    """A signed-in user sees their name, the panel, its script and the button to sign out."""
    await browser.sign_in()
    page = (await browser.get("/")).body.decode()
    assert "Hello, ada" in page
    assert 'id="live-panel"' in page
    assert "/static/live.js?v=" in page
    assert 'action="/logout"' in page


async def test_names_are_text(site: Site, browser: Browser) -> None:
    """Pages show the service's name as text and never run it as code."""
    site.app.settings["template_names"] |= {"service_name": HOSTILE, "description": HOSTILE}
    shown = (
        "&lt;/title&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;{{ 1 + 1 }} &amp; &#x27;"
    )
    for path in ("/", "/login", "/nothing"):
        page = (await browser.get(path)).body.decode().replace("&#39;", "&#x27;")
        assert shown in page
        assert "alert(" not in page.replace(shown, "")


async def test_pages_need_nothing_that_the_policy_forbids(site: Site, browser: Browser) -> None:
    """Pages have no inline script or style, and load nothing from another host."""
    site.app.settings["template_names"] |= {"service_name": "Service", "description": "A service"}
    await browser.sign_in()
    for path in ("/", "/account", "/nothing"):
        page = (await browser.get(path)).body.decode()
        assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", page) == []
        assert re.findall(r'(?:src|href|action)="(?!/[^/]|/")', page) == ['href="#content'[:6]]
