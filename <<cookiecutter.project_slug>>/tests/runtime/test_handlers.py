"""All handlers: headers, request ids, and errors."""

import asyncio
import itertools
import json
import re
from collections.abc import Awaitable, Callable
from html import escape

import pytest
from sqlalchemy import text
from tornado.web import RequestHandler

from << cookiecutter.__package_name >> import NAME
from << cookiecutter.__package_name >>.handlers.base import PageHandler
from << cookiecutter.__package_name >>.routes import ROUTES
from << cookiecutter.__package_name >>.runtime.application import SECURITY_HEADERS

from ..browser import SESSION_COOKIE, XSRF_COOKIE, Browser
from ..running import Process, Site
from ..waiting import until

ADDRESSES = [
    *(rule.regex.pattern.rstrip("$") for rule in ROUTES if not rule.regex.groups),
    "/robots.txt",
    "/favicon.ico",
    "/apple-touch-icon.png",
    "/static/style.css",
    "/static/nothing",
    "/static/../settings.py",
    "/nothing",
    "/api/nothing",
    "/fails",
]
SECRET_MESSAGE = "the reactor is on fire"
REQUEST_ID = "0123456789abcdef" * 2


class Fails(PageHandler):
    def get(self) -> None:
        raise RuntimeError(SECRET_MESSAGE)


def with_failing_page(site: Site) -> Site:
    site.app.add_handlers(".*", [("/fails", Fails)])
    return site


def test_the_security_headers_are_owasps() -> None:
    """Each kind of answer has all headers of the OWASP Secure Headers Project that fit it."""
    assert SECURITY_HEADERS.keys() == {
        "Content-Security-Policy",
        "Cross-Origin-Opener-Policy",
        "Cross-Origin-Resource-Policy",
        "Permissions-Policy",
        "Referrer-Policy",
        "X-Content-Type-Options",
    }
    assert SECURITY_HEADERS["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in SECURITY_HEADERS["Content-Security-Policy"]


async def test_every_answer_has_the_security_headers(site: Site) -> None:
    """Every answer, errors included, has the same policy."""
    browser = with_failing_page(site).browser()
    for path, method in itertools.product(ADDRESSES, ("GET", "HEAD", "POST", "FETCH")):
        answer = await browser.request(method, path)
        named = {name: answer.headers.get(name) for name in SECURITY_HEADERS}
        assert named == SECURITY_HEADERS, f"{method} {path}: {answer.code}"
        assert "Server" not in answer.headers
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


@pytest.mark.parametrize("path", ["/", "/api/me", "/static/style.css", "/healthz", "/nothing"])
async def test_https_answers_have_strict_transport_security(site: Site, path: str) -> None:
    """The header is sent over https only, and never for localhost."""
    for scheme, host, expected in (
        ("https", "service.example", "max-age=31536000"),
        ("http", "service.example", None),
        ("https", "localhost:8443", None),
    ):
        response = await site.browser(X_Forwarded_Proto=scheme).get(path, {"Host": host})
        assert response.headers.get("Strict-Transport-Security") == expected


async def seen(browser: Browser) -> tuple[str, bool]:
    """Return the client's address and whether it uses https, as the service sees them."""
    await browser.sign_in()
    page = (await browser.get("/account")).body.decode()
    address = re.search(r'<p class="address">([^<]*)</p>', page)
    assert address is not None
    return address[1], browser.session_cookie.startswith("__Host-")


async def test_headers_of_the_balancer_are_believed(site: Site) -> None:
    """Behind a balancer its headers give the client's address and scheme."""
    browser = site.browser(X_Real_IP="192.0.2.1", X_Forwarded_Proto="https")
    assert await seen(browser) == ("192.0.2.1", True)


@pytest.mark.parametrize("forged", ["not an ip", "192.0.2.1, 192.0.2.2", "", "192.0.2.1\t2"])
async def test_invalid_addresses_and_schemes_are_ignored(site: Site, forged: str) -> None:
    """A header without a valid address or scheme changes nothing."""
    browser = site.browser(X_Real_IP=forged, X_Forwarded_Proto="gopher")
    assert await seen(browser) == ("127.0.0.1", False)


async def test_without_a_balancer_its_headers_are_ignored(open_site: Callable[..., Site]) -> None:
    """With BEHIND_PROXY=false the connection itself gives address and scheme."""
    site = open_site(behind_proxy=False)
    browser = site.browser(X_Real_IP="192.0.2.1", X_Forwarded_Proto="https")
    browser.session_cookie, browser.xsrf_cookie = SESSION_COOKIE, XSRF_COOKIE
    assert await seen(browser) == ("127.0.0.1", False)


def test_the_policy_allows_nothing_by_default() -> None:
    """The policy forbids what it does not name, and has no exception for inline code."""
    policy = SECURITY_HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy


async def test_head_answers_as_get_without_the_body(site: Site) -> None:
    """HEAD has the status and the headers of GET, and no body."""
    browser = with_failing_page(site).browser()
    await browser.sign_in()
    for path in ADDRESSES:
        got, head = await browser.get(path), await browser.request("HEAD", path)
        assert head.code == got.code, path
        assert head.headers["Content-Type"] == got.headers["Content-Type"], path
        assert head.body == b"", path


@pytest.mark.parametrize("path", ["/", "/login", "/account", "/nothing"])
async def test_no_cache_keeps_a_page(browser: Browser, path: str) -> None:
    """No cache may store a page: it may show who is signed in."""
    await browser.sign_in()
    assert (await browser.get(path)).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/api/me", "/healthz", "/nothing", "/static/style.css"])
async def test_the_balancers_request_id_is_kept(browser: Browser, path: str) -> None:
    """A request has the same id in the balancer's log and in ours."""
    response = await browser.get(path, {"X-Request-Id": REQUEST_ID})
    assert response.headers["X-Request-Id"] == REQUEST_ID


@pytest.mark.parametrize(
    "made_up", ["", "1", "x" * 32, REQUEST_ID.upper(), REQUEST_ID + "0", REQUEST_ID + "\u00e9"]
)
async def test_any_other_request_id_is_replaced(browser: Browser, made_up: str) -> None:
    """An id in another format reaches neither logs nor answers."""
    response = await browser.get("/", {"X-Request-Id": made_up})
    assert response.headers["X-Request-Id"] != made_up
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-Id"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("FETCH", "/", 405),
        ("POST", "/logout", 403),
        ("GET", "/fails", 500),
    ],
)
async def test_errors_are_pages(site: Site, method: str, path: str, status: int) -> None:
    """An error is a page like the others, with its status and the request's id."""
    response = await with_failing_page(site).browser().request(method, path)
    page = response.body.decode()
    assert response.code == status
    assert response.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert response.headers["X-Request-Id"] in page
    assert str(status) in page
    assert escape(NAME) in page
    assert SECRET_MESSAGE not in page
    assert "Traceback" not in page


async def test_a_method_that_a_page_does_not_have_is_not_allowed(browser: Browser) -> None:
    """A form sent to a page without one gets 405."""
    assert (await browser.post("/")).code == 405
    assert (await browser.get("/logout")).code == 405
    assert (await browser.request("OPTIONS", "/")).code == 405


@pytest.mark.parametrize(("flag", "shown"), [(True, True), (False, False), (None, False)])
async def test_a_traceback_is_shown_only_if_configured(
    open_site: Callable[..., Site], flag: bool | None, *, shown: bool
) -> None:
    """Only SERVE_TRACEBACK puts the traceback on the page."""
    browser = with_failing_page(open_site(serve_traceback=flag)).browser()
    page = (await browser.get("/fails")).body.decode()
    assert (SECRET_MESSAGE in page) == shown


async def test_a_failure_is_logged_with_its_request(
    site: Site, logs: Callable[[], list[str]]
) -> None:
    """The log has the traceback, the path and the id on the page, and no more."""
    browser = with_failing_page(site).browser()
    await browser.get("/fails?token=verysecret", {"X-Request-Id": REQUEST_ID})
    failures = [json.loads(line) for line in logs() if SECRET_MESSAGE in line]
    (failure,) = failures
    assert failure["level"] == "ERROR"
    assert failure["request_id"] == REQUEST_ID
    assert failure["path"] == "/fails"
    assert "Traceback" in failure["exception"]


async def test_an_unavailable_database_is_a_503(site: Site, logs: Callable[[], list[str]]) -> None:
    """A page answers 503 with Retry-After, and the log names the cause."""
    browser = site.browser()
    await browser.sign_in()
    async with site.app.settings["database"].transaction() as transaction:
        await transaction.execute(text("DROP TABLE sessions"))
    page = await browser.get("/")
    api = await browser.get("/api/me")
    for response in (page, api):
        assert response.code == 503
        assert response.headers["Retry-After"] == "5"
        assert b"sessions" not in response.body
    assert json.loads(api.body)["error"]["status"] == 503
    reason = "The database cannot be used"
    assert any(reason in line and "sessions" in line for line in logs())
    assert (await site.browser().get("/")).code == 200, "nothing had to be asked of the database"


async def test_every_request_leaves_the_count_in_flight(site: Site) -> None:
    """However a request ends, it is no longer in flight, so that a drain does not wait for it."""
    browser = with_failing_page(site).browser()
    await browser.sign_in()
    for path in ADDRESSES:
        for method in ("GET", "HEAD", "POST", "FETCH"):
            await browser.request(method, path)
    assert site.app.connections.in_flight == 0


# --- What a Tornado developer does by habit ---


async def test_a_tuple_is_a_route(site: Site) -> None:
    """Routes may be tuples, in the table and in `add_handlers`, also for one host."""

    class Here(PageHandler):
        def get(self) -> None:
            self.write("for this host")

    site.app.add_handlers("api.example.com", [("/", Here)])
    browser = site.browser()
    assert (await browser.get("/", {"Host": "api.example.com"})).body == b"for this host"
    assert b"for this host" not in (await browser.get("/")).body


async def test_settings_may_be_added_later(site: Site) -> None:
    """A setting added after `make_app` is used, also over https."""

    class Shows(PageHandler):
        def get(self) -> None:
            self.write(self.settings["later"])

    site.app.add_handlers(".*", [("/shows", Shows)])
    site.app.settings["later"] = "added"
    for scheme in ("http", "https"):
        assert (await site.browser(X_Forwarded_Proto=scheme).get("/shows")).body == b"added"


async def test_hooks_may_be_overridden_without_super(site: Site) -> None:
    """A handler with its own hooks knows its user, leaves the count in flight, is not cached."""

    class Own(PageHandler):
        def initialize(self) -> None:
            self.steps = ["initialize"]

        def prepare(self) -> None:
            self.steps.append("prepare")

        def set_default_headers(self) -> None:
            self.set_header("X-Own", "1")

        def on_finish(self) -> None:
            self.steps.append("finish")

        def get(self) -> None:
            assert self.current_user is not None
            self.write(f"{self.current_user.name} {self.steps}")

    site.app.add_handlers(".*", [("/own", Own)])
    browser = site.browser()
    await browser.sign_in()
    response = await browser.get("/own")
    assert response.body == b"ada ['initialize', 'prepare']"
    assert response.headers["X-Own"] == "1"
    assert response.headers["Cache-Control"] == "no-store"
    assert site.app.connections.in_flight == 0


async def test_a_plain_tornado_handler_works(site: Site) -> None:
    """A plain RequestHandler has the security headers and a request id, and is counted."""

    class Plain(RequestHandler):
        def get(self) -> None:
            self.write("plain")

    site.app.add_handlers(".*", [("/plain", Plain)])
    response = await site.browser().get("/plain")
    assert response.body == b"plain"
    assert {name: response.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert site.app.connections.in_flight == 0


async def test_two_routes_of_one_handler_have_two_labels(site: Site) -> None:
    """The metrics name the route of a request, not its handler."""

    class Two(PageHandler):
        def get(self, number: str = "") -> None:
            self.write(number)

    site.app.add_handlers(".*", [("/two", Two), (r"/two/(\d+)", Two)])
    browser = site.browser()
    for path in ("/two", "/two/1", "/two/2"):
        await browser.get(path)
    metrics = (await browser.get("/metrics")).body.decode()
    assert 'route="/two",status="200"} 1.0' in metrics
    assert r'route="/two/(\\d+)",status="200"} 2.0' in metrics


async def test_too_many_requests_at_once_are_refused(
    open_site: Callable[..., Site], logs: Callable[[], list[str]]
) -> None:
    """Above MAX_IN_FLIGHT a request gets 503 at once and when to try again; probes get answers.

    The refused ones are logged together, and not as faults.
    """
    site, release = open_site(max_in_flight=2), asyncio.Event()

    class Slow(PageHandler):
        async def get(self) -> None:
            await release.wait()

    site.app.add_handlers(".*", [("/slow", Slow)])
    waiting = [asyncio.create_task(site.browser().get("/slow")) for _ in range(2)]
    await until(lambda: site.app.connections.in_flight == 2, "two requests in flight")
    for path in ("/", "/api/me", "/static/style.css"):
        refused = await site.browser().get(path)
        assert (refused.code, refused.headers["Retry-After"]) == (503, "5")
        assert {name: refused.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert (await site.browser().get("/healthz")).code == 200
    assert (await site.browser().get("/readyz")).code == 200
    await until(lambda: any("Refused 3 requests" in line for line in logs()), "a line of the log")
    assert not [line for line in logs() if '"ERROR"' in line or "503" in line]
    release.set()
    assert [response.code for response in await asyncio.gather(*waiting)] == [200, 200]
    assert (await site.browser().get("/")).code == 200


async def test_multipart_bodies_are_not_parsed(start: Callable[..., Awaitable[Process]]) -> None:
    """A multipart form gets 400 unparsed: its parser can stall the event loop."""
    process = await start()
    await process.answers()
    body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'
    for path in ("/login", "/nothing", "/api/me"):
        response = await process.browser.client.fetch(
            process.browser.url + path,
            raise_error=False,
            method="POST",
            headers={"Content-Type": "multipart/form-data; boundary=x"},
            body=body,
        )
        assert response.code == 400
