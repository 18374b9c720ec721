"""The account page: the << "password, and the " if cookiecutter.sign_in == "passwords" >>sessions."""

import re
<% if cookiecutter.sign_in == "passwords" %>
from typing import Any

import pytest

from << cookiecutter.__package_name >>.accounts import Accounts, Client, CurrentUser, sessions
from << cookiecutter.__package_name >>.accounts.throttle import PER_NAME

from ..browser import BETTER, PASSWORD, Browser
from ..running import Site

# What a form that ends sessions needs as well.
CONFIRMED = {"current_password": PASSWORD}
<% else %>

import pytest

from << cookiecutter.__package_name >>.accounts import sessions

from ..browser import Browser
from ..running import Site

# What a form that ends sessions needs as well.
CONFIRMED: dict[str, str] = {}
<% endif %>


def sessions_on(page: bytes) -> list[str]:
    """Return the ids of the sessions that the account page offers to end."""
    return re.findall(r'name="session" value="(\d+)"', page.decode())


@pytest.mark.parametrize("path", [<< '"/account", ' if cookiecutter.sign_in == "passwords" >>"/account/sessions"])
async def test_the_account_needs_a_session(browser: Browser, path: str) -> None:
    """A request without a session is refused, whatever its form contains."""
    assert (await browser.post(path, {"session": "1", **CONFIRMED})).code == 403


<% if cookiecutter.sign_in == "passwords" %>
async def test_a_changed_password_signs_out_everywhere_else(site: Site) -> None:
    """After a change only its browser is signed in, and only the new password is accepted."""
    here, there, stranger = site.browser(), site.browser(), site.browser()
    await here.sign_in()
    await there.sign_in()
    stranger.cookies.update(here.cookies)
    response = await here.post("/account", {"current_password": PASSWORD, "new_password": BETTER})
    assert response.code == 200
    assert "Your password is changed." in response.body.decode()
    assert await here.user() == "ada"
    assert await there.user() is None
    assert await stranger.user() is None, "a copy of the cookie outlived the change"
    assert (await there.sign_in("ada", PASSWORD)).code == 422
    assert (await there.sign_in("ada", BETTER)).code == 303


@pytest.mark.parametrize(
    ("current", "new", "reason"),
    [
        ("not the password", BETTER, "The current password is wrong."),
        (PASSWORD, "passwordpassword", "Take several words"),
        (PASSWORD, "short", "A password has 12 to 128 characters."),
        (PASSWORD, "x" * 129, "A password has 12 to 128 characters."),
        (PASSWORD, "", "A password has 12 to 128 characters."),
    ],
    ids=["wrong", "easy", "short", "long", "empty"],
)
async def test_an_unsuitable_password_is_explained(
    site: Site, current: str, new: str, reason: str
) -> None:
    """The page says why the password was not changed, and no session ends."""
    here, there = site.browser(), site.browser()
    await here.sign_in()
    await there.sign_in()
    response = await here.post("/account", {"current_password": current, "new_password": new})
    assert response.code == 422
    assert reason in response.body.decode()
    assert await here.user() == await there.user() == "ada"
    assert (await here.sign_in("ada", PASSWORD)).code == 303


<% endif %>
async def test_sessions_are_listed_with_address_and_browser(site: Site) -> None:
    """Every session shows its address and browser; only the other sessions can be ended."""
    here = site.browser(User_Agent="Here/1", X_Real_IP="192.0.2.1")
    there = site.browser(User_Agent="<b>There/2", X_Real_IP="2001:db8::2")
    await here.sign_in()
    await there.sign_in()
    response = await here.get("/account")
    page = response.body.decode()
    for shown in ("Here/1", "192.0.2.1", "&lt;b&gt;There/2", "2001:db8::2"):
        assert shown in page
    assert len(sessions_on(response.body)) == 1


async def test_a_user_ends_another_session(site: Site) -> None:
    """Ending a session signs out its browser at once, and not this one."""
    here, there = site.browser(), site.browser()
    await here.sign_in()
    await there.sign_in()
    (other,) = sessions_on((await here.get("/account")).body)
    response = await here.post("/account/sessions", {"session": other, **CONFIRMED})
    assert response.code == 303
    assert response.headers["Location"] == "/account"
    assert await there.user() is None
    assert await here.user() == "ada"


async def test_all_other_sessions_can_be_ended(site: Site) -> None:
    """One form signs out every browser except this one."""
    here, *there = [site.browser() for _ in range(3)]
    for browser in (here, *there):
        await browser.sign_in()
    form = {"session": "others", **CONFIRMED}
    assert (await here.post("/account/sessions", form)).code == 303
    assert [await browser.user() for browser in (here, *there)] == ["ada", None, None]


<% if cookiecutter.sign_in == "passwords" %>
async def test_ending_a_session_takes_the_password(site: Site) -> None:
    """ASVS 3.3.4: without the password a stranger at this browser cannot sign the others out."""
    here, there = site.browser(), site.browser()
    await here.sign_in()
    await there.sign_in()
    response = await here.post("/account/sessions", {"session": "others"})
    assert response.code == 422
    assert "The current password is wrong." in response.body.decode()
    assert await there.user() == "ada"


<% endif %>
async def test_sessions_are_shown_page_by_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page shows a limited number of sessions and links to the others."""
    monkeypatch.setattr(sessions, "SESSIONS_PER_PAGE", 2)
    browsers = [site.browser(User_Agent=f"Browser/{n}") for n in range(3)]
    for browser in browsers:
        await browser.sign_in()
    shown = {}
    for page in ("/account", "/account?page=2", "/account?page=3", f"/account?page={'9' * 99}"):
        body = (await browsers[-1].get(page)).body.decode()
        shown[page] = re.findall(r">Browser/(\d)<", body), re.findall(r"\?page=\d", body)
    assert list(shown.values()) == [
        (["2", "1"], ["?page=2"]),
        (["0"], ["?page=1"]),
        ([], ["?page=2"]),
        (["2", "1"], ["?page=2"]),
    ]


<% if cookiecutter.sign_in == "passwords" %>
async def test_a_session_that_ends_during_the_change_signs_in_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the new session ends before its page is rendered, the browser signs in again."""
    browser = site.browser()
    await browser.sign_in()
    accounts: Accounts = site.app.settings["accounts"]
    change = accounts.change_password

    async def changed(user: CurrentUser, *rest: Any) -> str:
        token = await change(user, *rest)
        await accounts.end_sessions(user.name, Client("test"))
        return token

    monkeypatch.setattr(accounts, "change_password", changed)
    form = {"current_password": PASSWORD, "new_password": BETTER}
    response = await browser.post("/account", form)
    assert response.code == 303
    assert response.headers["Location"] == "/login"


<% endif %>
async def test_a_stale_form_leads_back_to_the_account(browser: Browser) -> None:
    """A form with an old token changes nothing; its page links to a form with a new one."""
    await browser.sign_in()
    for path in (<< '"/account", ' if cookiecutter.sign_in == "passwords" >>"/account/sessions"<< "," if cookiecutter.sign_in == "sso" >>):
        response = await browser.request("POST", path, {"_xsrf": "old"})
        assert response.code == 403
        page = response.body.decode()
        assert "This page was open for too long" in page
        assert 'href="/account"' in page


async def test_a_user_cannot_touch_sessions_of_others(site: Site) -> None:
    """A user neither sees nor ends the session of another user."""
    ada, elsewhere, bob = site.browser(), site.browser(), site.browser(X_Real_IP="192.0.2.77")
    await ada.sign_in("ada")
    await elsewhere.sign_in("ada")
    await bob.sign_in("bob")
    (foreign,) = sessions_on((await ada.get("/account")).body)
    page = await bob.get("/account")
    assert sessions_on(page.body) == []
    assert "192.0.2.77" not in (await ada.get("/account")).body.decode()
    assert (await bob.post("/account/sessions", {"session": foreign, **CONFIRMED})).code == 303
    assert await elsewhere.user() == "ada"


@pytest.mark.parametrize("made_up", ["0", "99999", "9" * 20, "9" * 5000], ids=len)
async def test_ending_an_unknown_session_is_no_error(browser: Browser, made_up: str) -> None:
    """The id of an ended session, or of none, is not an error."""
    await browser.sign_in()
    response = await browser.post("/account/sessions", {"session": made_up, **CONFIRMED})
    assert response.code in (303, 400)
    assert await browser.user() == "ada"


@pytest.mark.parametrize("made_up", ["", "x", "-1", "1.5", "\u00b2", "1 OR 1=1"])
async def test_an_invalid_session_id_is_refused(browser: Browser, made_up: str) -> None:
    """An id that is not a number is the client's error."""
    await browser.sign_in()
    assert (await browser.post("/account/sessions", {"session": made_up, **CONFIRMED})).code == 400
    assert (await browser.post("/account/sessions")).code == 400
<% if cookiecutter.sign_in == "passwords" %>


async def test_password_guesses_at_a_signed_in_browser_are_limited(browser: Browser) -> None:
    """The form for a new password does not bypass the limit on guesses."""
    await browser.sign_in()
    form = {"current_password": "wrong", "new_password": BETTER}
    for _ in range(PER_NAME):
        assert (await browser.post("/account", form)).code == 422
    response = await browser.post("/account", {**form, "current_password": PASSWORD})
    assert response.code == 429
    assert 0 < int(response.headers["Retry-After"]) <= 15 * 60
    assert "Try again in 15 minutes" in response.body.decode()
<% endif %>
