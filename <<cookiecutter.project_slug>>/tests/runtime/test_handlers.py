"""What all handlers share: the headers, the request id, and what is told when something fails."""

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
    """All headers of the OWASP Secure Headers Project that fit each kind of answer are there."""
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


async def test_the_security_headers_stand_on_every_answer(site: Site) -> None:
    """Whatever is asked for, however it ends, the browser is told the same policy."""
    browser = with_failing_page(site).browser()
    for path, method in itertools.product(ADDRESSES, ("GET", "HEAD", "POST", "FETCH")):
        answer = await browser.request(method, path)
        named = {name: answer.headers.get(name) for name in SECURITY_HEADERS}
        assert named == SECURITY_HEADERS, f"{method} {path}: {answer.code}"
        assert "Server" not in answer.headers
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


@pytest.mark.parametrize("path", ["/", "/api/me", "/static/style.css", "/healthz", "/nothing"])
async def test_over_https_browsers_are_told_to_stay_there(site: Site, path: str) -> None:
    """Over https, and only there, an answer asks for https from now on; never on localhost."""
    for scheme, host, expected in (
        ("https", "service.example", "max-age=31536000"),
        ("http", "service.example", None),
        ("https", "localhost:8443", None),
    ):
        response = await site.browser(X_Forwarded_Proto=scheme).get(path, {"Host": host})
        assert response.headers.get("Strict-Transport-Security") == expected


async def seen(browser: Browser) -> tuple[str, bool]:
    """Return the address that the service sees, and whether it sees https."""
    await browser.sign_in()
    page = (await browser.get("/account")).body.decode()
    address = re.search(r'<p class="address">([^<]*)</p>', page)
    assert address is not None
    return address[1], browser.session_cookie.startswith("__Host-")


async def test_the_balancer_is_believed(site: Site) -> None:
    """Behind a balancer the client's address and scheme are those that the balancer tells."""
    browser = site.browser(X_Real_IP="192.0.2.1", X_Forwarded_Proto="https")
    assert await seen(browser) == ("192.0.2.1", True)


@pytest.mark.parametrize("forged", ["not an ip", "192.0.2.1, 192.0.2.2", "", "192.0.2.1\t2"])
async def test_what_is_no_address_is_not_believed(site: Site, forged: str) -> None:
    """A header that holds no address, or no scheme, changes nothing."""
    browser = site.browser(X_Real_IP=forged, X_Forwarded_Proto="gopher")
    assert await seen(browser) == ("127.0.0.1", False)


async def test_without_a_balancer_nobody_is_believed(open_site: Callable[..., Site]) -> None:
    """With BEHIND_PROXY=false the connection itself tells address and scheme."""
    site = open_site(behind_proxy=False)
    browser = site.browser(X_Real_IP="192.0.2.1", X_Forwarded_Proto="https")
    browser.session_cookie, browser.xsrf_cookie = SESSION_COOKIE, XSRF_COOKIE
    assert await seen(browser) == ("127.0.0.1", False)


def test_the_policy_allows_nothing_by_default() -> None:
    """What the policy does not name is forbidden, and it has no exception for inline code."""
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
    """A page shows who is signed in, so it is kept nowhere."""
    await browser.sign_in()
    assert (await browser.get(path)).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/api/me", "/healthz", "/nothing", "/static/style.css"])
async def test_the_request_id_of_the_balancer_is_taken_over(browser: Browser, path: str) -> None:
    """A request has one id, in the balancer's log and in ours."""
    response = await browser.get(path, {"X-Request-Id": REQUEST_ID})
    assert response.headers["X-Request-Id"] == REQUEST_ID


@pytest.mark.parametrize(
    "made_up", ["", "1", "x" * 32, REQUEST_ID.upper(), REQUEST_ID + "0", REQUEST_ID + "\u00e9"]
)
async def test_any_other_request_id_is_replaced(browser: Browser, made_up: str) -> None:
    """What does not look like the balancer's id gets neither into logs nor into answers."""
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
    """What goes wrong is told on a page like the others, with its status and the request's id."""
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
    """A form sent to a page that takes none is told so with 405."""
    assert (await browser.post("/")).code == 405
    assert (await browser.get("/logout")).code == 405
    assert (await browser.request("OPTIONS", "/")).code == 405


@pytest.mark.parametrize(("flag", "shown"), [(True, True), (False, False), (None, False)])
async def test_a_traceback_is_shown_only_where_that_is_wanted(
    open_site: Callable[..., Site], flag: bool | None, *, shown: bool
) -> None:
    """SERVE_TRACEBACK, and nothing else, puts the traceback on the page."""
    browser = with_failing_page(open_site(serve_traceback=flag)).browser()
    page = (await browser.get("/fails")).body.decode()
    assert (SECRET_MESSAGE in page) == shown


async def test_a_failure_is_logged_with_its_request(
    site: Site, logs: Callable[[], list[str]]
) -> None:
    """The log has the traceback, the path and the id that the page shows, and no more."""
    browser = with_failing_page(site).browser()
    await browser.get("/fails?token=verysecret", {"X-Request-Id": REQUEST_ID})
    failures = [json.loads(line) for line in logs() if SECRET_MESSAGE in line]
    (failure,) = failures
    assert failure["level"] == "ERROR"
    assert failure["request_id"] == REQUEST_ID
    assert failure["path"] == "/fails"
    assert "Traceback" in failure["exception"]


async def test_a_database_that_is_away_is_no_fault_of_the_code(
    site: Site, logs: Callable[[], list[str]]
) -> None:
    """Without its database a page says 503 and when to try again, and the log says why."""
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


async def test_every_request_is_counted_out_again(site: Site) -> None:
    """However a request ends, it is no longer in flight afterwards: a drain waits for nobody."""
    browser = with_failing_page(site).browser()
    await browser.sign_in()
    for path in ADDRESSES:
        for method in ("GET", "HEAD", "POST", "FETCH"):
            await browser.request(method, path)
    assert site.app.connections.in_flight == 0


# --- What a Tornado developer does by habit ---


async def test_a_tuple_is_a_route(site: Site) -> None:
    """Routes may be tuples, in the table and in `add_handlers`, for one host too."""

    class Here(PageHandler):
        def get(self) -> None:
            self.write("for this host")

    site.app.add_handlers("api.example.com", [("/", Here)])
    browser = site.browser()
    assert (await browser.get("/", {"Host": "api.example.com"})).body == b"for this host"
    assert b"for this host" not in (await browser.get("/")).body


async def test_settings_may_be_added_later(site: Site) -> None:
    """What is put into `app.settings` after `make_app` is there, over https too."""

    class Shows(PageHandler):
        def get(self) -> None:
            self.write(self.settings["later"])

    site.app.add_handlers(".*", [("/shows", Shows)])
    site.app.settings["later"] = "added"
    for scheme in ("http", "https"):
        assert (await site.browser(X_Forwarded_Proto=scheme).get("/shows")).body == b"added"


async def test_hooks_may_be_overridden_without_super(site: Site) -> None:
    """A handler with its own hooks still knows its user, is counted out, and is kept nowhere."""

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


async def test_a_handler_of_tornado_alone_is_one_of_ours(site: Site) -> None:
    """A plain RequestHandler has the security headers, a request id, and is counted out."""

    class Plain(RequestHandler):
        def get(self) -> None:
            self.write("plain")

    site.app.add_handlers(".*", [("/plain", Plain)])
    response = await site.browser().get("/plain")
    assert response.body == b"plain"
    assert {name: response.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert site.app.connections.in_flight == 0


async def test_two_routes_of_one_handler_are_told_apart(site: Site) -> None:
    """The metrics name the route by which a request came, not the handler."""

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
    """A multipart form gets 400 without a look into it: its parser can stall the event loop."""
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
