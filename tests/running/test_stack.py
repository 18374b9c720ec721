"""The stack of `make stack` answers like production: through the balancer, at every path."""

import asyncio
import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.running.processes import Stack

pytestmark = pytest.mark.full

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
IMMUTABLE = "public, max-age=31536000, immutable"
HTML, JSON, TEXT = "text/html", "application/json", "text/plain"
ADDRESSES = [
    ("GET", "/", 200, HTML),
    ("HEAD", "/", 200, HTML),
    ("GET", "/login", 200, HTML),
    ("POST", "/login", 403, HTML),
    ("GET", "/logout", 405, HTML),
    ("POST", "/logout", 403, HTML),
    ("GET", "/account", 302, HTML),
    ("GET", "/live", 400, None),
    ("GET", "/api/me", 401, JSON),
    ("GET", "/healthz", 200, JSON),
    ("GET", "/readyz", 200, JSON),
    ("GET", "/metrics", 404, None),
    ("GET", "/static/style.css", 200, "text/css"),
    ("GET", "/static/live.js", 200, "javascript"),
    ("GET", "/static/logo.svg", 200, "image/svg+xml"),
    ("GET", "/static/nothing.css", 404, None),
    ("GET", "/robots.txt", 200, TEXT),
    ("GET", "/favicon.ico", 200, "image/"),
    ("GET", "/apple-touch-icon.png", 200, "image/png"),
    ("GET", "/nothing", 404, HTML),
    ("POST", "/nothing", 404, HTML),
    ("GET", "/api/nothing", 404, JSON),
]


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with stack.client() as client:
        yield client


@pytest.fixture(scope="module")
def account(stack: Stack) -> tuple[str, str]:
    """The name and the password of an account."""
    return stack.add_user()


@pytest.fixture(scope="module")
def cookies(stack: Stack, account: tuple[str, str]) -> httpx.Cookies:
    """The cookies of a signed-in user."""
    return stack.sign_in(*account)


def as_header(cookies: httpx.Cookies) -> dict[str, str]:
    """These cookies for any host: the stack has several names, and each process a port."""
    return {"Cookie": "; ".join(f"{cookie.name}={cookie.value}" for cookie in cookies.jar)}


def test_it_prints_its_address(stack: Stack) -> None:
    """One line on the terminal has the address, and the address answers."""

    def announced() -> list[str]:
        return re.findall(r"^Ready: (\S+)", stack.output, re.MULTILINE)

    (address,) = stack.wait_until(announced, "the address is on the terminal")
    assert address == stack.url
    assert httpx.get(address, trust_env=False).status_code == 200


@pytest.mark.parametrize(("method", "address", "status", "kind"), ADDRESSES)
def test_every_address(
    method: str, address: str, status: int, kind: str | None, client: httpx.Client
) -> None:
    """Each path has its status and type; each answer has each common header once."""
    answer = client.request(method, address)

    assert answer.status_code == status
    if kind:
        assert kind in answer.headers["Content-Type"]
    for name, beginning in SECURITY_HEADERS.items():
        (value,) = answer.headers.get_list(name)
        assert value.startswith(beginning)
    (request_id,) = answer.headers.get_list("X-Request-Id")
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert len(answer.headers.get_list("Date")) <= 1
    assert len(answer.headers.get_list("Cache-Control")) <= 1
    assert answer.headers.get("Server", "nginx") == "nginx"


def test_a_login_returns_to_the_requested_page(client: httpx.Client) -> None:
    """The account page redirects to the login with the way back, within the site."""
    answer = client.get("/account")
    assert answer.headers["Location"] == "/login?next=%2Faccount"


def test_a_session_is_valid_in_every_process(stack: Stack, cookies: httpx.Cookies) -> None:
    """A session that one process starts is valid in all others, until one ends it."""
    for url in [*stack.worker_urls, stack.url]:
        answer = httpx.get(f"{url}/api/me", headers=as_header(cookies), trust_env=False)
        assert answer.status_code == 200, url
        assert answer.json()["name"].startswith("user-")


def test_pages_are_not_cached(client: httpx.Client) -> None:
    """No cache may keep a page: it may show who is signed in."""
    for address in ("/", "/login", "/api/me", "/nothing"):
        assert client.get(address).headers["Cache-Control"] == "no-store", address


def get_as_written(stack: Stack, address: str) -> tuple[int, bytes]:
    """Get an address that a browser would have tidied up; return status and body."""
    connection = http.client.HTTPConnection("localhost", stack.project.balancer_port, timeout=20)
    with closing(connection):
        connection.request("GET", address)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_metrics_are_not_public(stack: Stack) -> None:
    """The balancer hides the metrics, however the path is spelled."""
    for address in "/metrics /metrics/ /metrics?x //metrics /x/../metrics /%6Detrics".split():
        status, body = get_as_written(stack, address)
        assert status == 404, address
        assert b"http_requests_total" not in body, address


def test_each_process_has_its_metrics_on_its_own_port(stack: Stack) -> None:
    """Prometheus gets them there, by route and not by path."""
    for url in stack.worker_urls:
        httpx.get(f"{url}/made-up-{id(url)}", trust_env=False)
        answer = httpx.get(f"{url}/metrics", trust_env=False)
        assert answer.status_code == 200
        assert 'http_requests_total{method="GET",route="unmatched",status="404"}' in answer.text
        assert "event_loop_lag_seconds" in answer.text
        assert "made-up" not in answer.text


def test_only_static_files_are_served(stack: Stack) -> None:
    """No path leads out of the folder of static files, or lists it."""
    for address in (
        "/settings.py",
        "/static/",
        "/static/../settings.py",
        "/static/..%2fsettings.py",
        "/static/%2e%2e/settings.py",
    ):
        status, body = get_as_written(stack, address)
        assert status in (400, 403, 404), address
        assert b"COOKIE_SECRET" not in body, address


def logged(stack: Stack, answer: httpx.Response) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The balancer's line for an answer, and the service's if it has one."""
    request_id = answer.headers["X-Request-Id"]

    def line(entries: list[dict[str, Any]]) -> dict[str, Any] | None:
        return next((entry for entry in entries if entry["request_id"] == request_id), None)

    # The balancer writes last, so the service has written by then.
    balancers = stack.wait_until(lambda: line(stack.balancer_requests()), "the request is logged")
    return balancers, line(stack.requests())


def test_one_request_has_one_id_everywhere(stack: Stack, client: httpx.Client) -> None:
    """The id in the answer and on the page is in the balancer's log and the service's."""
    answer = client.get("/nothing?token=very-secret")
    balancers, services = logged(stack, answer)
    assert answer.headers["X-Request-Id"] in answer.text
    assert services is not None
    for entry in (balancers, services):
        assert (entry["method"], entry["path"], entry["status"]) == ("GET", "/nothing", 404)
    assert str(services["port"]) in balancers["process"]


def test_no_secret_is_in_a_log(
    stack: Stack, account: tuple[str, str], cookies: httpx.Cookies, client: httpx.Client
) -> None:
    """No log contains query strings, cookies, passwords or the cookie secret."""
    answer = client.get("/?token=very-secret", headers=as_header(cookies))
    logged(stack, answer)
    secrets = ["very-secret", account[1], *cookies.values()]
    secrets += re.findall(r"COOKIE_SECRET=\d+:(\S+)", (stack.project.folder / ".env").read_text())
    assert len(secrets) >= 4
    for name, text in stack.logs().items():
        assert not [secret for secret in secrets if secret in text], name


FORGED = {
    "X-Real-IP": "203.0.113.6",
    "X-Forwarded-For": "203.0.113.6",
    "X-Forwarded-Proto": "https",
    "X-Scheme": "https",
    "X-Request-Id": "f" * 32,
}


def test_headers_of_clients_are_not_believed(stack: Stack) -> None:
    """Address, scheme and request id come from the balancer, not from a client's headers."""
    claims = [FORGED, *({name: value} for name, value in FORGED.items())]
    answers = [httpx.get(f"{stack.url}/login", headers=claim, trust_env=False) for claim in claims]
    for claim, answer in zip(claims, answers, strict=True):
        assert answer.headers["X-Request-Id"] != FORGED["X-Request-Id"], claim
        # Over https the cookie would have another name and be bound to https.
        assert answer.headers["Set-Cookie"].startswith(f"{stack.project.xsrf_cookie}="), claim
        assert "Secure" not in answer.headers["Set-Cookie"], claim
        balancers, services = logged(stack, answer)
        assert services is not None, claim
        assert services["address"] in ("127.0.0.1", "::1"), claim
        assert balancers["address"] == services["address"], claim


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "evil.example:80"])
def test_another_host_gets_no_answer(host: str, client: httpx.Client) -> None:
    """A request for a host that is not the service's does not reach the service."""
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/", headers={"Host": host})


def test_the_balancer_serves_static_files_if_it_can(stack: Stack, client: httpx.Client) -> None:
    """nginx serves them from disk, without a process; HAProxy cannot, so a process does."""
    by_process = stack.project.balancer == "haproxy"
    addresses = ("/static/style.css", "/static/style.css?v=1", "/robots.txt", "/favicon.ico")
    answers = [client.get(address) for address in addresses]
    for answer in answers:
        balancers, services = logged(stack, answer)
        assert bool(balancers["process"]) is by_process, answer.url
        assert bool(services) is by_process, answer.url


def test_static_files_are_cached_by_version(client: httpx.Client) -> None:
    """A URL with a version is cached for good; the same without one is revalidated."""
    page = client.get("/").text
    versioned = re.findall(r'"(/static/[^"]+\?v=[^"]+)"', page)
    assert len(versioned) >= 4
    for address in versioned:
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert answer.headers.get_list("Cache-Control") == [IMMUTABLE], address
        assert "Expires" not in answer.headers, address
        assert "Set-Cookie" not in answer.headers, address

        bare = client.get(address.partition("?")[0])
        assert bare.headers.get_list("Cache-Control") == ["no-cache"], address
        again = client.get(str(bare.url), headers={"If-None-Match": bare.headers["ETag"]})
        assert again.status_code == 304, address
    for address in ("/robots.txt", "/favicon.ico", "/apple-touch-icon.png"):
        assert client.get(address).headers.get_list("Cache-Control") == ["no-cache"], address


def test_text_is_compressed_on_request(client: httpx.Client) -> None:
    """CSS is gzipped for a browser that accepts it, and the same for one that does not."""
    packed = client.get("/static/style.css", headers={"Accept-Encoding": "gzip"})
    plain = client.get("/static/style.css", headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == "Accept-Encoding"
    assert "Content-Encoding" not in plain.headers
    assert packed.text == plain.text


def test_requests_are_spread_over_all_processes(stack: Stack, client: httpx.Client) -> None:
    """Each process gets its share."""
    count = 10 * len(stack.worker_ports)
    ids = {client.get("/").headers["X-Request-Id"] for _ in range(count)}

    def ports() -> list[int]:
        found = [entry["port"] for entry in stack.requests() if entry["request_id"] in ids]
        return found if len(found) == count else []

    answered = stack.wait_until(ports, "all requests are logged")
    shares = [answered.count(port) for port in stack.worker_ports]
    assert min(shares) >= 5, shares


async def connect(stack: Stack, **headers: str) -> WebSocketClientConnection:
    url = stack.url.replace("http", "ws") + "/live"
    return await websocket_connect(HTTPRequest(url, headers=headers, request_timeout=20))


def test_a_websocket_passes_the_balancer(stack: Stack, cookies: httpx.Cookies) -> None:
    """The panel gets a message each second, always from one process."""

    async def listen() -> list[dict[str, Any]]:
        socket = await connect(stack, Origin=stack.url, **as_header(cookies))
        ticks = [json.loads(await socket.read_message()) for _ in range(3)]
        socket.close()
        return ticks

    ticks = asyncio.run(asyncio.wait_for(listen(), 20))
    (port,) = {tick["port"] for tick in ticks}
    assert {tick["pid"] for tick in ticks} == {stack.worker_pids()[port]}
    # The first may come at once, the others come each second.
    assert 0.5 < ticks[2]["uptime_seconds"] - ticks[1]["uptime_seconds"] < 5
    assert ticks[0]["connections"] >= 1


def test_a_websocket_without_a_session_is_closed(stack: Stack) -> None:
    """Without a session the socket gets only the close code."""

    async def ask() -> tuple[Any, int | None]:
        socket = await connect(stack, Origin=stack.url)
        return await socket.read_message(), socket.close_code

    assert asyncio.run(asyncio.wait_for(ask(), 20)) == (None, 4401)


def test_a_websocket_of_another_site_is_refused(stack: Stack, cookies: httpx.Cookies) -> None:
    """A page of another site cannot use its visitor's cookies to listen."""

    async def ask() -> None:
        await connect(stack, Origin="http://evil.example", **as_header(cookies))

    with pytest.raises(HTTPClientError) as refused:
        asyncio.run(asyncio.wait_for(ask(), 20))
    assert refused.value.code == 403


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 10**12])
def test_a_body_over_the_limit_is_refused(size: int, stack: Stack) -> None:
    """A request that announces too large a body is refused before all of it is sent."""
    with socket.create_connection(("localhost", stack.project.balancer_port), 20) as connection:
        lines = ["POST /login HTTP/1.1", "Host: localhost", f"Content-Length: {size}", "", ""]
        connection.sendall("\r\n".join(lines).encode() + b"x" * 65536)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 413
        for name in SECURITY_HEADERS:
            assert len(answer.headers.get_all(name, [])) == 1, name


def test_a_body_within_the_limit_arrives(client: httpx.Client) -> None:
    """A body just within the limit reaches the service, which here refuses it as forged."""
    answer = client.post("/login", content=b"x" * (1024 * 1024))
    assert answer.status_code == 403
    assert "X-Request-Id" in answer.headers


def test_errors_are_pages_for_people_and_json_for_programs(client: httpx.Client) -> None:
    """An unknown path is a page with a link home; below /api/ it is JSON; both have the id."""
    page = client.get("/nothing")
    assert "<h1>Not Found</h1>" in page.text
    assert 'href="/"' in page.text
    assert page.headers["X-Request-Id"] in page.text

    error = client.get("/api/nothing").json()["error"]
    assert error["status"] == 404
    assert error["message"]
    assert re.fullmatch("[0-9a-f]{32}", error["request_id"])


def test_while_no_process_answers(stack: Stack, client: httpx.Client) -> None:
    """Browsers get a page that retries, programs get JSON; afterwards all works as before."""
    stack.stop_workers()
    try:
        browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        for answer, kind in (
            (client.get("/", headers=browser), HTML),
            (client.get("/account", headers=browser), HTML),
            (client.get("/api/me", headers={"Accept": "*/*"}), JSON),
            (client.get("/readyz", headers={"Accept": "application/json"}), JSON),
            (client.post("/login", headers=browser, data={"name": "a"}), HTML),
        ):
            where = answer.request.url
            assert answer.status_code == 503, where
            assert kind in answer.headers["Content-Type"], where
            assert answer.headers["Retry-After"] == "5", where
            for name in ("X-Request-Id", *SECURITY_HEADERS):
                assert len(answer.headers.get_list(name)) == 1, (where, name)
            if kind == JSON:
                assert answer.json()["error"]["status"] == 503, where
            else:
                assert "One moment, please" in answer.text, where
                assert '<meta http-equiv="refresh"' in answer.text, where
        if stack.project.balancer == "nginx":
            assert client.get("/static/style.css").status_code == 200
    finally:
        stack.start_workers()
    assert client.get("/", headers=browser).status_code == 200
