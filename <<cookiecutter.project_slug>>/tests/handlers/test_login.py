"""Signing in and out with a browser."""

#% if cookiecutter.sign_in == "passwords"
import asyncio
import html
import json
import re
import threading
from collections.abc import AsyncIterator, Callable
#% else
import html
from collections.abc import Callable
#% endif
from urllib.parse import urlencode

import pytest

#% if cookiecutter.sign_in == "passwords"
from << cookiecutter.__package_name >>.accounts import passwords
from << cookiecutter.__package_name >>.accounts.throttle import PER_NAME
from << cookiecutter.__package_name >>.database import Database
#% endif
from << cookiecutter.__package_name >>.handlers.login import safe_next

#% if cookiecutter.sign_in == "passwords"
from ..browser import BETTER, PASSWORD, SESSION_COOKIE, XSRF_COOKIE, Browser, cookies_of
#% else
from ..browser import SESSION_COOKIE, XSRF_COOKIE, Browser, cookies_of
#% endif
from ..conftest import SECRET
from ..running import Site
<% if cookiecutter.sign_in == "passwords" %>
from ..waiting import until

WRONG = "The name or the password is wrong."
# The form of the login, and the status of an answer that accepts it.
FORM = {"name": "ada", "password": PASSWORD}
ACCEPTED = 303
<% else %>

# The form of the login, and the status of an answer that accepts it: a page that leads on.
FORM = {"next": "/"}
ACCEPTED = 200
<% endif %>
TRICKS = [
    "//evil.example",
    "///evil.example",
    "////evil.example/..",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r/evil.example",
    "\t//evil.example",
    "/\r\nLocation: https://evil.example",
    "/\x00/evil.example",
    "https://evil.example",
    "HTTPS://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:\\\\evil.example",
    "javascript:alert(1)",
    "data:text/html,evil",
    "evil.example",
    "@evil.example",
    ".evil.example",
    "?next=//evil.example",
    "",
]
HARMLESS = [
    "/",
    "/account",
    "/account?a=1&b=%2F#here",
    "/%5Cevil.example",
    "/%09/evil.example",
    "/a//b",
    "/@evil.example",
    "/https://evil.example",
    "/\u00e9t\u00e9",
]
WHERE = [*((trick, "/") for trick in TRICKS), *((path, path) for path in HARMLESS)]


<% if cookiecutter.sign_in == "passwords" %>
async def test_a_user_stays_signed_in_until_sign_out(browser: Browser) -> None:
    """The right password signs a browser in; signing out ends that."""
    assert await browser.user() is None
    response = await browser.sign_in("ada")
    assert response.code == 303
    assert response.headers["Location"] == "/"
    assert await browser.user() == "ada"
    response = await browser.post("/logout")
    assert response.code == 303
    assert browser.session_cookie not in browser.cookies
    assert await browser.user() is None


async def test_a_wrong_password_and_an_unknown_name_look_the_same(browser: Browser) -> None:
    """The answer to a failed login does not reveal whether the account exists."""
    wrong = await browser.sign_in("ada", "not the password")
    unknown = await browser.sign_in("eve", "not the password")
    assert wrong.code == unknown.code == 422
    assert WRONG in wrong.body.decode()

    def same(page: bytes) -> str:
        """Return the page without the typed name and the values that are new in each answer."""
        text = re.sub(r'value="(ada|eve|2\|[^"]*)"', "", page.decode())
        return re.sub(r'<span class="code">[0-9a-f]{32}</span>', "", text)

    assert same(wrong.body) == same(unknown.body)
    assert await browser.user() is None


async def test_password_guesses_are_limited(site: Site) -> None:
    """After too many failures the right password has to wait, too; the page says how long."""
    browser = site.browser(X_Real_IP="192.0.2.1")
    for _ in range(PER_NAME):
        assert (await browser.sign_in("ada", "wrong")).code == 422
    for anybody in (browser, site.browser(X_Real_IP="198.51.100.1")):
        response = await anybody.sign_in("ada")
        assert response.code == 429
        assert 0 < int(response.headers["Retry-After"]) <= 15 * 60
        assert "Try again in 15 minutes" in response.body.decode()
        assert await anybody.user() is None
    assert (await browser.sign_in("bob")).code == 303


async def test_the_password_is_not_shown_again(browser: Browser) -> None:
    """After a failed login the form keeps the name and the next page, but not the password."""
    form = {"name": '"><b>ada', "password": "not the password", "next": "/account"}
    page = (await browser.post("/login", form)).body.decode()
    assert 'value="&quot;&gt;&lt;b&gt;ada"' in page
    assert 'name="next" value="/account"' in page
    assert "not the password" not in page


async def test_every_form_carries_the_token(browser: Browser) -> None:
    """Each form contains the token that it must send back."""
    page = (await browser.get("/login")).body.decode()
    token = re.search(r'name="_xsrf" value="([^"]+)"', page)
    assert token is not None
    form = {"name": "ada", "password": PASSWORD, "_xsrf": html.unescape(token[1])}
    assert (await browser.request("POST", "/login", form)).code == 303


<% endif %>
@pytest.mark.parametrize("path", ["/login", "/logout", << '"/account", ' if cookiecutter.sign_in == "passwords" >>"/account/sessions"])
async def test_a_form_without_the_token_is_refused(browser: Browser, path: str) -> None:
    """A request that another site could have forged changes nothing."""
    await browser.sign_in()
    assert (await browser.request("POST", path, FORM)).code == 403
    assert (await browser.request("POST", path, {**FORM, "_xsrf": "made up"})).code == 403
    assert await browser.user() == "ada"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, ACCEPTED),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, ACCEPTED),
    ],
    ids=str,
)
async def test_a_form_on_another_site_is_refused(
    browser: Browser, headers: dict[str, str], code: int
) -> None:
    """The browser's statement of the form's origin counts, even with a right token."""
    assert (await browser.post("/login", FORM, headers)).code == code


async def test_each_login_starts_a_new_session(browser: Browser) -> None:
    """No session survives a login: each login sets another cookie."""
    cookies = set()
    for _ in range(3):
        await browser.sign_in()
        cookies.add(browser.cookies[browser.session_cookie])
    assert len(cookies) == 3


async def test_a_session_planted_before_the_login_is_worthless(site: Site) -> None:
    """A cookie planted in a browser before the login gives no access to its user."""
    eve, victim = site.browser(), site.browser()
    await eve.sign_in("bob")
    planted = eve.cookies[eve.session_cookie]
    victim.cookies[victim.session_cookie] = planted
    await victim.sign_in("ada")
    assert await victim.user() == "ada"
    assert victim.cookies[victim.session_cookie] != planted
    assert await eve.user() is None, "the session that was replaced has not ended"


async def test_a_forged_session_is_ignored(site: Site) -> None:
    """A cookie that the service did not sign counts as none and causes no error."""
    browser = site.browser()
    await browser.sign_in()
    signed = browser.cookies[browser.session_cookie]
    flipped = signed[:-2] + ("0" if signed[-2] != "0" else "1") + signed[-1]
    for made_up in ("x", "a|b|c", "1|2|3|4", "2|1:0|", flipped, signed[:-9], "\u00ff", "x" * 4000):
        browser.cookies[browser.session_cookie] = made_up
        response = await browser.get("/account")
        assert response.code == 302, f"{made_up!r}: {response.code}"


async def test_signing_out_ends_the_session_itself(site: Site) -> None:
    """After signing out, an earlier copy of the cookie is worthless."""
    browser, thief = site.browser(), site.browser()
    await browser.sign_in()
    thief.cookies.update(browser.cookies)
    assert await thief.user() == "ada"
    await browser.post("/logout")
    assert await thief.user() is None


<% if cookiecutter.sign_in == "passwords" %>
async def test_signing_out_twice_is_no_error(browser: Browser) -> None:
    """The button in a second tab works after the first tab has signed out."""
    await browser.sign_in()
    for _ in range(2):
        assert (await browser.post("/logout")).headers["Location"] == "/"


<% endif %>
@pytest.mark.parametrize(
    ("headers", "prefix", "secure"),
    [({}, "", False), ({"X_Forwarded_Proto": "https"}, "__Host-", True)],
    ids=["http", "https"],
)
async def test_cookies_have_every_protection(
    site: Site, headers: dict[str, str], prefix: str, *, secure: bool
) -> None:
    """No script reads a cookie, no other site sends it, and a cookie of https stays on https."""
    browser = site.browser(**headers)
    xsrf = cookies_of(await browser.get("/login"))
    answer = cookies_of(await browser.sign_in())
    session = {name: cookie for name, cookie in answer.items() if cookie.value}
    assert list(session) == [prefix + SESSION_COOKIE]
    assert list(xsrf) == [prefix + XSRF_COOKIE]
    for cookie in (*xsrf.values(), *session.values()):
        assert cookie["httponly"] is True
        assert cookie["samesite"] == "Lax"
        assert cookie["path"] == "/"
        assert cookie["domain"] == ""
        assert cookie["expires"]
        assert (cookie["secure"] is True) == secure
    gone = cookies_of(await browser.post("/logout"))[prefix + SESSION_COOKIE]
    assert gone.value == ""
    assert (gone["secure"] is True) == secure


async def test_a_cookie_of_http_is_ignored_over_https(site: Site) -> None:
    """A cookie that could have been planted over plain http is ignored over https."""
    plain, safe = site.browser(), site.browser(X_Forwarded_Proto="https")
    await plain.sign_in()
    safe.cookies.update(plain.cookies)
    assert await safe.user() is None


@pytest.mark.parametrize(("target", "expected"), WHERE)
def test_only_a_path_on_this_site_is_a_target(target: str, expected: str) -> None:
    """Any other target, or one that browsers read as another site, becomes the home page."""
    assert safe_next(target) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/account?a=1&b=%2F#here", "/account?a=1&b=%2F#here"),
        ("/\u00e9t\u00e9", "/\u00e9t\u00e9"),
        ("//evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/\r\nLocation: https://evil.example", "/"),
        ("/\\evil.example", "/"),
    ],
)
async def test_a_login_never_leads_off_the_site(
    browser: Browser, target: str, expected: str
) -> None:
    """`next` works within the site, in the form and in the URL; other values lead home."""
    asked = f"/login?{urlencode({'next': target})}"
    page = (await browser.get(asked)).body.decode()
    assert f'name="next" value="{html.escape(expected)}"' in page
#% if cookiecutter.sign_in == "passwords"
    form = {"name": "ada", "password": PASSWORD, "next": target}
    for response in (await browser.post("/login", form), await browser.get(asked)):
#% else
    for response in (await browser.sign_in("ada", target), await browser.get(asked)):
#% endif
        assert response.code in (302, 303)
        # Headers arrive as bytes; Tornado shows them as Latin-1.
        assert response.headers["Location"].encode("latin-1").decode() == expected


async def test_a_login_returns_to_the_requested_page(browser: Browser) -> None:
    """A page that needs a session redirects to the login, which leads back."""
    response = await browser.get("/account?from=mail")
    assert response.code == 302
    assert response.headers["Location"] == "/login?next=%2Faccount%3Ffrom%3Dmail"


@pytest.mark.parametrize(
    ("secret", "known"),
    [
        ("2:for-tests-only-next-9876543210-zyxwvutsrqponm,{old}", True),
        ("{old},2:for-tests-only-next-9876543210-zyxwvutsrqponm", True),
        ("2:for-tests-only-next-9876543210-zyxwvutsrqponm", False),
        ("1:for-tests-only-next-9876543210-zyxwvutsrqponm", False),
    ],
    ids=["signs with new", "accepts new", "dropped old", "replaced old"],
)
async def test_a_rotation_of_the_secret_signs_no_user_out(
    open_site: Callable[..., Site], secret: str, *, known: bool
) -> None:
    """A cookie signed with any listed secret is accepted; one signed with another is not."""
    before = open_site()
    browser = before.browser()
    await browser.sign_in()
    old = SECRET
    after = open_site(cookie_secret=secret.format(old=old))
    browser.url = after.url
    assert await browser.user() == ("ada" if known else None)


async def test_a_cookie_is_signed_again_during_a_rotation(
    open_site: Callable[..., Site],
) -> None:
    """Users with requests while both secrets are accepted stay signed in without the old one."""
    before = open_site()
    browser = before.browser()
    await browser.sign_in()
    new = "2:for-tests-only-next-9876543210-zyxwvutsrqponm"
    old = SECRET
    for secret in (f"{old},{new}", f"{new},{old}", new):
        browser.url = open_site(cookie_secret=secret).url
        assert await browser.user() == "ada"


async def test_the_first_secret_signs(open_site: Callable[..., Site]) -> None:
    """The first of several secrets signs, so that the others can be dropped later."""
    new = "2:for-tests-only-next-9876543210-zyxwvutsrqponm"
    browser = open_site(cookie_secret=f"{new},1:for-tests-only-0123456789-abcdefghijkl").browser()
    await browser.sign_in()
    browser.url = open_site(cookie_secret=new).url
    assert await browser.user() == "ada"


<% if cookiecutter.sign_in == "passwords" %>
async def test_a_stale_form_is_shown_again_with_a_valid_token(browser: Browser) -> None:
    """The input stays, except the password, and sending it again signs in."""
    await browser.get("/login")
    form = {"name": "ada", "password": PASSWORD, "next": "/account", "_xsrf": "old"}
    response = await browser.request("POST", "/login", form)
    page = response.body.decode()
    assert response.code == 403
    assert "This page was open for too long" in page
    assert 'value="ada"' in page
    assert 'name="next" value="/account"' in page
    assert PASSWORD not in page
    token = re.search(r'name="_xsrf" value="([^"]+)"', page)
    assert token is not None
    form["_xsrf"] = html.unescape(token[1])
    assert (await browser.request("POST", "/login", form)).code == 303


<% endif %>
async def test_disabled_cookies_are_explained(browser: Browser) -> None:
    """A browser that sends no cookie gets a message about cookies."""
    response = await browser.request("POST", "/login", FORM)
    assert response.code == 403
    assert "allow cookies for this site" in response.body.decode()


async def test_a_stale_form_that_is_not_text_is_refused(
    browser: Browser, logs: Callable[[], list[str]]
) -> None:
    """A form without the token and not in UTF-8 gets 403, not an error of the service."""
    response = await browser.client.fetch(
        f"{browser.url}/login", raise_error=False, method="POST", body=b"<< "name=%ff%fe&password=x" if cookiecutter.sign_in == "passwords" else "next=%ff%fe" >>"
    )
    assert response.code == 403
    assert not any("Traceback" in line for line in logs())


async def test_a_stale_sign_out_links_on(browser: Browser) -> None:
    """The refusal of a stale form has a link to continue."""
    await browser.sign_in()
    response = await browser.request("POST", "/logout", {"_xsrf": "old"})
    assert response.code == 403
    assert '<a class="button" href="/"' in response.body.decode()
    assert await browser.user() == "ada"
<% if cookiecutter.sign_in == "passwords" %>


@pytest.fixture
async def busy(site: Site) -> AsyncIterator[threading.Event]:
    """All threads for passwords are busy until this is set."""
    queue, over = site.app.settings["accounts"]._passwords, threading.Event()

    async def hold() -> None:
        with queue.place():
            await queue._run(over.wait)

    async with asyncio.TaskGroup() as group:
        for _ in range(queue._workers):
            group.create_task(hold())
        await asyncio.sleep(0)
        yield over
        over.set()


async def test_too_many_simultaneous_logins_are_refused(
    site: Site, busy: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that would wait too long is refused at once, keeps the input, and is no failure."""
    monkeypatch.setattr(passwords, "QUEUE_SECONDS", 0)
    browser = site.browser()
    for _ in range(2 * PER_NAME):
        response = await browser.sign_in()
        assert response.code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert 'value="ada"' in response.body.decode()
    busy.set()
    monkeypatch.undo()
    assert (await browser.sign_in()).code == 303


async def test_a_disconnected_client_leaves_the_queue(
    site: Site, busy: threading.Event, logs: Callable[[], list[str]]
) -> None:
    """Its login is dropped while it waits, and is not an error of the service."""
    browser = site.browser()
    await browser.get("/login")
    token = browser.cookies[browser.xsrf_cookie]
    body = urlencode({"_xsrf": token, "name": "ada", "password": PASSWORD}).encode()
    queue = site.app.settings["accounts"]._passwords
    reader, writer = await asyncio.open_connection("127.0.0.1", site.settings.port)
    head = (
        f"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {browser.xsrf_cookie}={token}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await until(lambda: queue._places == queue._workers + 1, "the login in the queue")
    writer.close()
    await until(lambda: queue._places == queue._workers, "its place")
    await until(lambda: site.app.connections.in_flight == 0, "the end of the request")
    busy.set()
    assert (await browser.sign_in()).code == 303
    assert not any('"ERROR"' in line for line in logs())
    del reader


async def test_a_disconnected_client_leaves_no_lock(
    site: Site, database: Database, logs: Callable[[], list[str]]
) -> None:
    """A login whose client leaves in the middle of a transaction ends that transaction."""
    browser = site.browser()
    await browser.get("/login")
    token = browser.cookies[browser.xsrf_cookie]
    body = urlencode({"_xsrf": token, "name": "ada", "password": PASSWORD}).encode()
    head = (
        f"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {browser.xsrf_cookie}={token}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for milliseconds in range(25):
        _, writer = await asyncio.open_connection("127.0.0.1", site.settings.port)
        writer.write(head.encode() + body)
        # At another step each time.
        await asyncio.sleep(milliseconds / 1000)
        writer.close()
        await until(lambda: site.app.connections.in_flight == 0, "the end of the request")
        async with database.lock("attempts"):
            pass
    assert (await browser.sign_in("bob")).code == 303
    assert not any('"ERROR"' in line for line in logs())


async def test_the_security_log_has_account_event_and_address(
    site: Site, logs: Callable[[], list[str]]
) -> None:
    """ASVS 7.1.3, 7.1.4, 7.2.1: events have account, address and request id, but no password."""
    browser = site.browser(X_Real_IP="192.0.2.9", X_Request_Id="0" * 32)
    await browser.sign_in("ada")
    await browser.post("/account", {"current_password": "wrong", "new_password": BETTER})
    await browser.post("/account", {"current_password": PASSWORD, "new_password": BETTER})
    await browser.post("/account/sessions", {"session": "others", "current_password": BETTER})
    await browser.post("/logout")
    await browser.sign_in("ada", "a secret that is wrong")
    await browser.sign_in("a secret, typed as a name", "x")
    for _ in range(PER_NAME):
        await browser.sign_in("bob", "wrong")
    entries = [json.loads(line) for line in logs() if '"logger": "security"' in line]
    assert [(entry["event"], entry["account"]) for entry in entries[:-PER_NAME]] == [
        ("signed_in", "ada"),
        ("confirmation_failed", "ada"),
        ("password_changed", "ada"),
        ("sessions_ended", "ada"),
        ("signed_out", "ada"),
        ("sign_in_failed", "ada"),
        ("sign_in_failed", None),
    ]
    await browser.sign_in("bob")
    entries = [json.loads(line) for line in logs() if '"logger": "security"' in line]
    assert (entries[-1]["event"], entries[-1]["account"]) == ("sign_in_throttled", "bob")
    for entry in entries:
        assert entry["address"] == "192.0.2.9"
        assert re.fullmatch("[0-9a-f]{32}", entry["request_id"])
        assert entry["time"].endswith("Z")
    assert not any(secret in str(entries) for secret in (PASSWORD, BETTER, "secret", 'wrong"'))
<% endif %>
