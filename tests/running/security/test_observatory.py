"""The service over https, as a server's balancer shows it, by the rules of MDN's Observatory."""

import httpx
import pytest

from tests.running.processes import Stack
from tests.running.security.balancers import Balancer
from tests.running.security.observatory import before_bonus, score

pytestmark = pytest.mark.full

# Each is worse than what the service sends, and costs this much.
WORSE = {
    "content-security-policy": [
        ("Content-Security-Policy", "", -25),
        ("Content-Security-Policy", "default-src 'self' 'unsafe-inline'", -20),
        ("Content-Security-Policy", "script-src 'self'", -20),
        ("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-eval'", -10),
        ("Content-Security-Policy", "default-src 'none'; img-src http://x.example", -10),
    ],
    "cookies": [
        ("Set-Cookie", "__Host-session=x; HttpOnly; SameSite=Lax; Path=/", -10),
        ("Set-Cookie", "__Host-session=x; Secure; SameSite=Lax; Path=/", -30),
        ("Set-Cookie", "__Host-session=x; Secure; HttpOnly; SameSite=Lax; Path=/account", -10),
        ("Set-Cookie", "__Host-xsrf=x; Secure; HttpOnly; Path=/", -20),
    ],
    "referrer-policy": [("Referrer-Policy", "unsafe-url", -5)],
    "strict-transport-security": [
        ("Strict-Transport-Security", "", -20),
        ("Strict-Transport-Security", "max-age=86400", -10),
    ],
    "x-content-type-options": [("X-Content-Type-Options", "sniff", -5)],
    "x-frame-options": [("Content-Security-Policy", "default-src 'none'", -20)],
    "cross-origin-resource-policy": [("Cross-Origin-Resource-Policy", "cross-origin", -20)],
}


def test_every_page_scores_100_or_more(servers_balancer: Balancer, stack: Stack) -> None:
    """No page loses a point, nor does the answer to a login, which sets the session's cookies."""
    site = f"https://{servers_balancer.domain}"
    name, password = stack.add_user()
    form = servers_balancer.get(f"{site}/login")
    xsrf = form.headers["Set-Cookie"].partition(";")[0]
    fields = {"name": name, "password": password, "_xsrf": xsrf.partition("=")[2]}
    login = servers_balancer.ask("POST", f"{site}/login", headers={"Cookie": xsrf}, data=fields)
    assert login.status_code == 303
    session = login.headers["Set-Cookie"].partition(";")[0]
    account = servers_balancer.get(f"{site}/account", headers={"Cookie": session})
    assert name in account.text

    plain = servers_balancer.get(f"http://{servers_balancer.domain}/")
    pages = [form, login, account, *(servers_balancer.get(site + path) for path in ("/", "/none"))]
    for page in pages:
        points = score(page, plain)
        assert before_bonus(points) >= 100, (page.url, points)
    # What earns the bonus is the strictest policy, the best cookies, and no frames.
    assert score(login, plain)["cookies"] == 5
    assert score(form, plain)["content-security-policy"] == 10


@pytest.mark.parametrize("test", WORSE)
def test_a_weaker_header_loses_points(test: str, servers_balancer: Balancer) -> None:
    """An answer with one weakened header loses the points that it should."""
    page = servers_balancer.get(f"https://{servers_balancer.domain}/login")
    good = page.headers
    for header, value, points in WORSE[test]:
        page.headers = good.copy()
        page.headers[header] = value
        assert score(page, None)[test] == points, value


@pytest.mark.parametrize(
    ("location", "points"),
    [
        ("https://{}/", 0),
        ("https://www.{}/", -5),
        ("http://{}/", -20),
        (None, -20),
    ],
)
def test_plain_http_loses_points(
    location: str | None, points: int, servers_balancer: Balancer
) -> None:
    """Plain http that does not redirect to https on the same host costs points."""
    page = servers_balancer.get(f"https://{servers_balancer.domain}/")
    headers = {"Location": location.format(servers_balancer.domain)} if location else {}
    assert score(page, httpx.Response(308, headers=headers))["redirection"] == points


@pytest.mark.parametrize(
    ("script", "points"),
    [
        ('<script src="/static/live.js"></script>', 0),
        ('<script src="https://cdn.example/x.js"></script>', -5),
        ('<script src="http://cdn.example/x.js"></script>', -50),
        ('<script src="http://cdn.example/x.js" integrity="sha384-x"></script>', -20),
        ('<script src="https://cdn.example/x.js" integrity="sha384-x"></script>', 5),
    ],
)
def test_scripts_from_elsewhere_lose_points(script: str, points: int) -> None:
    """A script from another host costs points, unless the page has its digest."""
    request = httpx.Request("GET", "https://example.com/")
    page = httpx.Response(200, text=script, request=request)
    assert score(page, None)["subresource-integrity"] == points
