"""The checks on a site."""

import io
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from << cookiecutter.__package_name >>.operations.checks import (
    Finding,
    Severity,
    SiteError,
    check_site,
    site,
)

from ...running import Site as RunningSite
from ...running import free_port
from .ids import ids_of

GOOD = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
}
COOKIE = "__Host-session=x; Secure; HttpOnly; SameSite=Lax; Path=/"
Answer = tuple[int, Mapping[str, str], bytes]


class Canned(site.Site):
    """A site with the same answer to every URL, except those in `answers`."""

    def __init__(self, url: str, answer: Answer, answers: Mapping[str, Answer]) -> None:
        super().__init__(url)
        self.answer = answer
        self.answers = answers

    async def get(self, path: str, *, url: str | None = None, **headers: str) -> HTTPResponse:
        where = (url or self.url) + path
        code, answered, body = self.answers.get(where, self.answer)
        return HTTPResponse(
            HTTPRequest(where), code, headers=HTTPHeaders(answered), buffer=io.BytesIO(body)
        )


class Careless(RequestHandler):
    """Makes every mistake that is visible from outside."""

    def get(self, path: str) -> None:
        self.set_header("Content-Security-Policy", "script-src 'unsafe-inline'")
        self.set_header("Server", "careless/1.0")
        self.set_header("X-Request-Id", self.request.headers.get("X-Request-Id", ""))
        self.set_cookie("session", "x")
        self.write("<html>Traceback (most recent call last)")


class CarelessSocket(WebSocketHandler):
    def check_origin(self, origin: str) -> bool:
        return True


@pytest.fixture
async def careless_url() -> AsyncIterator[str]:
    """The URL of a site that makes every mistake."""
    listening, port = bind_unused_port()
    server = HTTPServer(Application([("/live", CarelessSocket), ("(.*)", Careless)]))
    server.add_socket(listening)
    yield f"http://127.0.0.1:{port}"
    server.stop()
    await server.close_all_connections()


async def found(
    check: Callable[[site.Site], AsyncIterator[Finding]],
    headers: Mapping[str, str] | None = None,
    *,
    url: str = "https://example.com",
    code: int = 200,
    body: bytes = b"<html>",
    answers: Mapping[str, Answer] | None = None,
) -> set[str]:
    """Return the ids of a check's findings on a site with all required headers and these."""
    canned = Canned(url, (code, {**GOOD, **(headers or {})}, body), answers or {})
    return {finding.id async for finding in check(canned)}


async def test_a_process_passes_all_checks_but_those_of_the_balancer(
    open_site: Callable[..., RunningSite],
) -> None:
    """Without a balancer a process fails only its checks: host, request id, /metrics."""
    findings = await check_site(open_site().url)
    assert sorted(finding.id for finding in findings) == ["A001", "P002", "P003"]


@pytest.mark.parametrize(("days", "expected"), [(13, ["T104"]), (15, [])])
async def test_a_certificate_that_ends_soon_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, expected: list[str]
) -> None:
    """T104: it ends within two weeks, so it has not been renewed."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-out", str(chain), "-keyout", str(key)]
    command = [*make.split(), *names, "-days", str(days), *files]
    subprocess.run(command, check=True, capture_output=True)  # noqa: ASYNC221 - nothing else runs
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    listening, port = bind_unused_port()
    server = HTTPServer(Application(), ssl_options=context)
    server.add_socket(listening)
    there = site.Site(f"https://localhost:{port}")
    assert [finding.id async for finding in site.certificate(there)] == expected
    end = await there.certificate_end()
    assert end is not None
    assert abs(end - time.time() - days * 24 * 60 * 60) < 60
    server.stop()
    await server.close_all_connections()
    assert await there.certificate_end() is None


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("HTTP://LOCALHOST:8080", "http://localhost:8080"),
        ("https://example.com/", "https://example.com"),
        ("https://example.com/login?next=/account", "https://example.com"),
        ("https://example.com#top", "https://example.com"),
        ("https://example.com?a=1#top", "https://example.com"),
        (" https://Example.com ", "https://example.com"),
        ("https://Ada:Word@Example.com:8443/x", "https://Ada:Word@example.com:8443"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_address_of_a_page_is_that_of_the_site(given: str, url: str) -> None:
    """An address may be copied from a browser, or typed in capitals."""
    assert site.Site(given).url == url


async def test_an_address_in_capitals_is_checked(
    open_site: Callable[..., RunningSite],
) -> None:
    """All checks run on the normalized address."""
    url = open_site().url.replace("http", "HTTP") + "/login?next=/#top"
    assert sorted(finding.id for finding in await check_site(url)) == ["A001", "P002", "P003"]


@pytest.mark.parametrize(
    "url",
    ["example.com", "ftp://example.com", "https://", "", "http://[::1", "http://localhost:port"],
)
async def test_an_invalid_address_is_refused(url: str) -> None:
    """The error shows the expected form of an address."""
    with pytest.raises(SiteError, match=r"is no address of a site. Give one such as https://"):
        await check_site(url)


async def test_an_unreachable_site_is_an_error() -> None:
    """Without a server at the address nothing can be checked."""
    with pytest.raises(SiteError, match=r"cannot be reached: .*Check the address"):
        await check_site(f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize("code", [500, 502, 503, 599])
@pytest.mark.parametrize("path", ["/", "/login", "/readyz", "/api/me"])
async def test_a_site_that_fails_is_found(path: str, code: int) -> None:
    """U001: a balancer's error page with all headers does not count as the service."""
    answers = {f"https://example.com{path}": (code, GOOD, b"")}
    assert await found(site.service) == set()
    assert await found(site.service, code=404) == set()
    assert await found(site.service, answers=answers) == {"U001"}


@pytest.mark.parametrize("name", site.NEEDED_HEADERS)
async def test_a_missing_header_is_found(name: str) -> None:
    """H001: each of the headers is required."""
    assert await found(site.headers) == set()
    assert await found(site.headers, {name: ""}) == {"H001"}


async def test_a_header_twice_is_found() -> None:
    """H001: if service and balancer both set a header, browsers read it differently."""
    headers = HTTPHeaders(GOOD)
    headers.add("Referrer-Policy", "no-referrer")
    canned = Canned("https://example.com", (200, headers, b""), {})
    assert {finding.id async for finding in site.headers(canned)} == {"H001"}


@pytest.mark.parametrize(
    "policy", ["script-src 'unsafe-inline'", "style-src 'unsafe-eval'", "script-src https: *"]
)
async def test_an_unsafe_policy_is_found(policy: str) -> None:
    """H002: a policy that allows inline code protects no visitor."""
    policy += "; frame-ancestors 'none'"
    assert await found(site.headers, {"Content-Security-Policy": policy}) == {"H002"}


@pytest.mark.parametrize(
    ("server", "expected"), [("nginx/1.22.1", {"H003"}), ("nginx", set()), ("", set())]
)
async def test_a_version_is_found(server: str, expected: set[str]) -> None:
    """H003: no visitor needs the version of the server."""
    assert await found(site.headers, {"Server": server}) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.com", {"T101"}),
        ("http://localhost:8080", set()),
        ("http://127.0.0.1:8080", set()),
    ],
)
async def test_plain_http_is_found(url: str, expected: set[str]) -> None:
    """T101: plain http is for localhost only."""
    assert await found(site.transport, url=url) == expected


@pytest.mark.parametrize("policy", ["", "max-age=3600", "includeSubDomains"])
async def test_a_short_strict_transport_security_is_found(policy: str) -> None:
    """T102: browsers must remember https for half a year."""
    headers = {"Strict-Transport-Security": policy}
    url = "https://example.com:8443"
    assert await found(site.transport, headers, url=url) == {"T102"}


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ((301, {"Location": "https://example.com/"}, b""), set()),
        ((301, {"Location": "http://www.example.com/"}, b""), {"T103"}),
        ((200, {}, b"<html>"), {"T103"}),
        ((599, {}, b""), set()),
    ],
    ids=["redirects", "elsewhere", "serves", "closed"],
)
async def test_http_beside_https_is_found(plain: Answer, expected: set[str]) -> None:
    """T103: http redirects to https or is closed."""
    assert await found(site.transport, answers={"http://example.com/": plain}) == expected


@pytest.mark.parametrize(
    ("url", "cookie", "expected"),
    [
        ("https://example.com", COOKIE, set()),
        ("https://example.com", COOKIE.replace("HttpOnly; ", ""), {"C001"}),
        ("https://example.com", COOKIE.replace("SameSite=Lax; ", ""), {"C001"}),
        ("https://example.com", COOKIE.replace("Secure; ", ""), {"C001"}),
        ("https://example.com", COOKIE.replace("__Host-", ""), {"C001"}),
        ("http://localhost", "session=x; HttpOnly; SameSite=Lax", set()),
        ("http://localhost", "session=x; SameSite=Lax", {"C001"}),
    ],
)
async def test_an_unprotected_cookie_is_found(url: str, cookie: str, expected: set[str]) -> None:
    """C001: each missing flag is reported."""
    assert await found(site.cookies, {"Set-Cookie": cookie}, url=url) == expected


async def test_a_forged_scheme_is_found() -> None:
    """P001: a cookie without Secure shows that a client's headers reach the service."""
    loose = COOKIE.replace("Secure; ", "")
    assert "P001" not in await found(site.forged_headers, {"Set-Cookie": COOKIE})
    assert "P001" in await found(site.forged_headers, {"Set-Cookie": loose})


@pytest.mark.parametrize(
    ("request_id", "expected"), [("0123456789abcdef" * 2, {"P002"}), ("f" * 32, set())]
)
async def test_a_forged_request_id_is_found(request_id: str, expected: set[str]) -> None:
    """P002: an id that comes back unchanged is not the balancer's."""
    assert await found(site.forged_headers, {"X-Request-Id": request_id}, body=b"") == expected


@pytest.mark.parametrize(
    ("code", "expected"), [(200, {"P003"}), (302, {"P003"}), (404, set()), (421, set())]
)
async def test_an_answer_to_any_host_is_found(code: int, expected: set[str]) -> None:
    """P003: a site that answers to any host can be used in attacks."""
    assert await found(site.forged_headers, code=code) == expected


@pytest.mark.parametrize(("code", "expected"), [(200, {"A001"}), (404, set()), (403, set())])
async def test_public_metrics_are_found(code: int, expected: set[str]) -> None:
    """A001: the metrics are for operators."""
    assert await found(site.private_addresses, code=code) == expected


async def test_a_websocket_open_to_other_sites_is_found(careless_url: str) -> None:
    """W001: a page elsewhere could read a visitor's messages."""

    checked = site.Site(careless_url)
    assert [finding.id async for finding in site.websocket_origin(checked)] == ["W001"]


async def test_a_failing_websocket_is_reported() -> None:
    """W002: without an answer its check of origins is unknown."""
    checked = site.Site(f"http://127.0.0.1:{free_port()}")
    (finding,) = [finding async for finding in site.websocket_origin(checked)]
    assert (finding.id, finding.severity) == ("W002", Severity.UNCHECKED)


@pytest.mark.parametrize("body", [b"Traceback (most recent", b'File "/srv/x.py"', b"nginx/1.22"])
async def test_a_leak_is_found(body: bytes) -> None:
    """E001: an error page with internals helps attackers."""
    assert await found(site.leaks) == set()
    assert await found(site.leaks, body=body) == {"E001"}


async def test_a_careless_site_gets_every_finding(careless_url: str) -> None:
    """A real site with every mistake gets every finding that is possible on it."""
    found = {finding.id for finding in await check_site(careless_url)}
    # The others need https, another machine's address, or a failing site.
    elsewhere = {"T101", "T102", "T103", "T104", "P001", "U001", "W002"}
    assert found | elsewhere == {one for check in site.CHECKS for one in ids_of(check)}
