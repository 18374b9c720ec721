"""Chromium does through the stack what people do: look around, sign in, watch, change, leave.

Every test here also asserts, at its end, that the browser had nothing to complain about, that its
content security policy was kept, and that nobody but the stack was asked for anything.
"""

import itertools
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.running.processes import Stack
from tests.running.projects import Project, require

pytestmark = pytest.mark.full

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
SMALL_PHONE = {"width": 320, "height": 568}


@pytest.fixture(scope="module")
def stack(default_project: Project) -> Iterator[Stack]:
    require("nginx")
    with Stack(default_project) as running:
        yield running


class Visitor:
    """A browser window, with a record of everything that goes wrong in it."""

    def __init__(self, browser: Browser, stack: Stack, account: tuple[str, str]) -> None:
        self.name, self.password = account
        self.complaints: list[str] = []
        self.hosts: set[str | None] = set()
        self.context = browser.new_context(
            base_url=stack.url, viewport=DESKTOP, reduced_motion="reduce"
        )
        self.context.set_default_timeout(20_000)
        self.context.on("console", self._note)
        self.context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.context.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page = self.context.new_page()
        self.page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))

    def _note(self, message: object) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def excuse(self, text: str) -> None:
        """Forget a complaint that had to come."""
        excused = [complaint for complaint in self.complaints if text in complaint]
        assert excused, f"nothing about {text!r}, only: {self.complaints}"
        self.complaints = [entry for entry in self.complaints if entry not in excused]

    def sign_in(self) -> Page:
        """Fill in and send the form; return the page, which shows where that leads."""
        if urlsplit(self.page.url).path != "/login":
            self.page.goto("/login")
        self.page.get_by_label("Name").fill(self.name)
        self.page.get_by_label("Password").fill(self.password)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("button", name="Sign out")).to_be_visible()
        return self.page


@pytest.fixture(scope="module")
def account(stack: Stack) -> tuple[str, str]:
    """The name and the password of the account that most visitors have."""
    return stack.add_user()


@pytest.fixture
def visitor(chromium: Browser, stack: Stack, account: tuple[str, str]) -> Iterator[Visitor]:
    """A new browser window, in which nothing may go wrong until the end."""
    visitor = Visitor(chromium, stack, account)
    expect.set_options(timeout=20_000)
    yield visitor
    visitor.context.close()
    assert visitor.complaints == []
    assert visitor.hosts == {urlsplit(stack.url).netloc}


def test_a_visit(visitor: Visitor, stack: Stack) -> None:
    """Home, a wrong password, the right one, the live panel, and signing out."""
    page = visitor.page
    page.goto("/")
    expect(page.get_by_role("heading", name="My Service")).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="Sign in").click()

    page.get_by_label("Name").fill(visitor.name)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("is wrong")
    expect(page.get_by_label("Name")).to_have_value(visitor.name)
    expect(page.get_by_label("Password")).to_be_focused()
    expect(page.get_by_label("Password")).to_have_value("")
    visitor.excuse("422")

    page.get_by_label("Password").fill(visitor.password)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Hello, {visitor.name}")).to_be_visible()
    assert urlsplit(page.url).path == "/"

    expect(page.locator("#live-state")).to_have_text("Connected")
    uptime = page.locator("#live-uptime")
    before = uptime.text_content()
    expect(uptime).not_to_have_text(before)
    pids = stack.worker_pids()
    port = int(page.locator("#live-port").text_content())
    assert port in stack.worker_ports
    assert page.locator("#live-pid").text_content() == str(pids[port])
    assert re.fullmatch(r"\d+\.\d ms", page.locator("#live-lag").text_content())
    assert int(page.locator("#live-connections").text_content()) >= 1
    shown = page.locator(".foot .code").all_text_contents()
    assert page.locator("#live-release").text_content() in shown

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("main").get_by_role("link", name="Sign in")).to_be_visible()
    # The account is no longer shown, and a new login returns to it.
    page.goto("/account")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    visitor.sign_in()
    expect(page.get_by_role("heading", name="Account")).to_be_visible()


def test_the_panel_reconnects_by_itself(visitor: Visitor, stack: Stack) -> None:
    """When its process stops, the panel connects to another one, without a reload."""
    page = visitor.sign_in()
    port = page.locator("#live-port")
    expect(port).to_have_text(re.compile(r"\d+"))
    stopped = port.text_content()
    process = f"{stack.project.slug}:{stack.project.slug}-{stopped}"
    stack.supervisor.stopProcess(process)
    try:
        expect(port).not_to_have_text(stopped)
        expect(page.locator("#live-state")).to_have_text("Connected")
        assert int(port.text_content()) in stack.worker_ports
        # The chart has a line for each of the two processes now.
        expect(page.locator("#live-trail text")).to_have_count(2)
    finally:
        stack.supervisor.startProcess(process)
        stack.wait_until(lambda: stack.ready, "the process is back")
    # That a connection was refused meanwhile, the browser may tell.
    visitor.complaints = [text for text in visitor.complaints if "WebSocket" not in text]


def test_a_new_password_ends_other_sessions(
    visitor: Visitor, chromium: Browser, stack: Stack
) -> None:
    """The account page lists the sessions; after a change of the password only one is left."""
    visitor.name, visitor.password = stack.add_user()
    elsewhere = Visitor(chromium, stack, (visitor.name, visitor.password))
    elsewhere.sign_in()
    page = visitor.sign_in()
    page.get_by_role("link", name=visitor.name).click()
    sessions = page.locator(".sessions .address")
    expect(sessions).to_have_count(2)
    expect(page.locator(".sessions .badge")).to_have_text("this one")
    for address in page.locator(".sessions .address").all_text_contents():
        assert address in ("127.0.0.1", "::1")

    new_password = secrets.token_urlsafe(16)
    page.get_by_label("Current password").fill("wrong")
    page.get_by_label("New password").fill(new_password)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("alert")).to_contain_text("is wrong")
    visitor.excuse("422")

    page.get_by_label("Current password").fill(visitor.password)
    page.get_by_label("New password").fill(new_password)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("status")).to_contain_text("Your password is changed")
    expect(sessions).to_have_count(1)

    # The other browser is signed out: its panel shows it, and so does its next page.
    expect(elsewhere.page.locator("#live-state")).to_have_text("You are signed out.")
    elsewhere.page.goto("/account")
    expect(elsewhere.page.get_by_role("heading", name="Sign in")).to_be_visible()
    elsewhere.password = new_password
    elsewhere.sign_in()
    assert elsewhere.complaints == []
    elsewhere.context.close()


def test_a_session_is_ended_from_another(visitor: Visitor, chromium: Browser, stack: Stack) -> None:
    """A user ends an unknown session by the password."""
    visitor.name, visitor.password = stack.add_user()
    elsewhere = Visitor(chromium, stack, (visitor.name, visitor.password))
    elsewhere.sign_in()
    page = visitor.sign_in()
    page.goto("/account")
    sessions = page.locator(".sessions .address")
    expect(sessions).to_have_count(2)
    page.get_by_role("radio", name="The session from").check()
    page.get_by_label("Your password").fill("wrong")
    page.get_by_role("button", name="End the chosen session").click()
    expect(page.get_by_role("alert")).to_contain_text("is wrong")
    visitor.excuse("422")
    page.get_by_role("radio", name="The session from").check()
    page.get_by_label("Your password").fill(visitor.password)
    page.get_by_role("button", name="End the chosen session").click()
    expect(sessions).to_have_count(1)
    elsewhere.page.goto("/")
    expect(elsewhere.page.get_by_role("main").get_by_role("link", name="Sign in")).to_be_visible()
    elsewhere.context.close()


def test_a_stale_form_can_be_sent_again(visitor: Visitor) -> None:
    """A login with a stale token is sent again with one click; the input is kept."""
    page = visitor.page
    page.goto("/login?next=/account")
    page.get_by_label("Name").fill(visitor.name)
    page.get_by_label("Password").fill(visitor.password)
    # As after the browser has dropped the cookies of the site and another tab has new ones.
    visitor.context.clear_cookies()
    visitor.context.new_page().goto("/login")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("open for too long")
    visitor.excuse("403")
    expect(page.get_by_label("Name")).to_have_value(visitor.name)
    page.get_by_label("Password").fill(visitor.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Account")).to_be_visible()

    # On the account page nothing typed may be kept: the way leads back to it.
    visitor.context.add_cookies([{**cookie, "value": "stale"} for cookie in xsrf_cookies(visitor)])
    page.get_by_label("Current password").fill(visitor.password)
    page.get_by_label("New password").fill(secrets.token_urlsafe(16))
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("heading", name="Please try again")).to_be_visible()
    visitor.excuse("403")
    page.get_by_role("main").get_by_role("link").click()
    expect(page.get_by_role("heading", name="Account")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("main").get_by_role("link", name="Sign in")).to_be_visible()


def xsrf_cookies(visitor: Visitor) -> list[dict[str, object]]:
    return [cookie for cookie in visitor.context.cookies() if "xsrf" in cookie["name"]]


def test_disabled_cookies_are_explained(visitor: Visitor) -> None:
    """A browser that keeps no cookies gets an explanation at each login."""
    page = visitor.page

    def drop_cookies(route: Route) -> None:
        answer = route.fetch(headers={**route.request.headers, "cookie": ""}, max_redirects=0)
        headers = {k: v for k, v in answer.headers.items() if k != "set-cookie"}
        route.fulfill(response=answer, headers=headers)

    page.route("**/login", drop_cookies)
    page.goto("/login")
    for _ in range(2):
        page.get_by_label("Name").fill(visitor.name)
        page.get_by_label("Password").fill(visitor.password)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("allow cookies for this site")
        visitor.excuse("403")


def test_a_password_can_be_shown(visitor: Visitor) -> None:
    """A button shows the password and hides it; the form is sent with it hidden."""
    page = visitor.page
    page.goto("/login")
    password = page.get_by_label("Password")
    password.fill(visitor.password)
    page.get_by_role("button", name="Show password").click()
    expect(password).to_have_attribute("type", "text")
    page.get_by_role("button", name="Hide password").click()
    expect(password).to_have_attribute("type", "password")
    page.get_by_role("button", name="Show password").click()
    visitor.sign_in()


def test_a_keyboard_is_enough(visitor: Visitor) -> None:
    """Tab and Enter are enough to sign in and out, and the focus is always visible."""
    page = visitor.page

    def tab_to(name: str) -> None:
        """Press Tab until what has this text has the focus, which must be visible all the way."""
        for _ in range(20):
            page.keyboard.press("Tab")
            focused = page.locator(":focus")
            outline = focused.evaluate("element => getComputedStyle(element).outlineStyle")
            assert outline != "none", focused.evaluate("element => element.outerHTML")
            if focused.evaluate("element => element.textContent.trim()") == name:
                return
        pytest.fail(f"{name} cannot be reached with Tab")

    page.goto("/")
    tab_to("Skip to the content")
    tab_to("Sign in")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type(visitor.name)
    page.keyboard.press("Tab")
    page.keyboard.type(visitor.password)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Hello, {visitor.name}")).to_be_visible()
    tab_to("Sign out")
    page.keyboard.press("Enter")
    expect(page.get_by_role("main").get_by_role("link", name="Sign in")).to_be_visible()


def test_every_page_fits(visitor: Visitor, screenshots: Path) -> None:
    """No page needs to scroll sideways, on any screen, light or dark."""
    page = visitor.page

    def look(name: str) -> None:
        for size, scheme in itertools.product((DESKTOP, PHONE, SMALL_PHONE), ("light", "dark")):
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)
            shot = f"{name}-{size['width']}-{scheme}.png"
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{shot} is {wide} pixels too wide"
            color = page.evaluate("getComputedStyle(document.body).backgroundColor")
            lightness = sum(map(int, re.findall(r"\d+", color)[:3])) / 3
            assert (lightness > 200) if scheme == "light" else (lightness < 60), shot
            page.screenshot(path=screenshots / shot, full_page=True)

    page.goto("/")
    look("welcome")
    page.goto("/login")
    look("login")
    visitor.sign_in()
    expect(page.locator("#live-state")).to_have_text("Connected")
    look("home")
    page.goto("/account")
    look("account")
    page.goto("/nothing")
    look("error")
    visitor.excuse("404")


def test_while_no_process_answers(visitor: Visitor, stack: Stack) -> None:
    """The balancer's page looks like the others, and gives way to the real one by itself."""
    page = visitor.page
    stack.stop_workers()
    try:
        page.goto("/")
        expect(page.get_by_role("heading", name="One moment, please")).to_be_visible()
        images = "[...document.images].every(image => image.naturalWidth > 0)"
        page.wait_for_function(images)
        assert page.evaluate("getComputedStyle(document.body).display") == "grid"
    finally:
        stack.start_workers()
    expect(page.get_by_role("heading", name="My Service")).to_be_visible()
    visitor.excuse("503")


def test_the_watch_notices(visitor: Visitor) -> None:
    """The other tests rely on this: a breach of the policy, an error and another host are seen."""

    def answer(route: Route) -> None:
        route.fulfill(body="<script>throw Error('by hand')</script><img src='http://b.invalid/'>")

    page = visitor.page
    page.goto("/")
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://a.invalid/'}))")
    page.route("**/made-up", answer)
    page.goto("/made-up")
    visitor.excuse("Content Security Policy")
    visitor.excuse("by hand")
    assert {"a.invalid", "b.invalid"} <= visitor.hosts
    visitor.complaints.clear()
    visitor.hosts -= {"a.invalid", "b.invalid"}
