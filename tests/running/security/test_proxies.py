"""What a server's balancer believes about clients, with and without a TLS proxy in front of it.

nginx and HAProxy run with the files for a server, on other ports.
"""

import re

import httpx
import pytest

from tests.running.processes import Stack
from tests.running.security.balancers import PROXY, Balancer

pytestmark = pytest.mark.full

CLIENT = "198.51.100.7"
FORGED = "203.0.113.9"
# All names under which somebody, somewhere, believes an address or a scheme.
FORGERY = {
    **dict.fromkeys(("X-Real-IP", "X-Client-IP", "CF-Connecting-IP", "True-Client-IP"), FORGED),
    "Forwarded": f"for={FORGED};proto=https;host=evil.example",
    "X-Forwarded-For": FORGED,
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Ssl": "on",
    "X-Scheme": "https",
    "X-Request-Id": "f" * 32,
}


def seen(answer: httpx.Response, stack: Stack) -> tuple[str, str]:
    """The address and the scheme that the service took this request for."""
    request_id = answer.headers["X-Request-Id"]
    assert request_id != FORGERY["X-Request-Id"]

    def entry() -> str | None:
        ours = (entry for entry in stack.requests() if entry["request_id"] == request_id)
        return next((entry["address"] for entry in ours), None)

    secure = answer.headers["Set-Cookie"].startswith("__Host-")
    assert secure == ("Strict-Transport-Security" in answer.headers)
    return stack.wait_until(entry, "the request is in a log"), "https" if secure else "http"


def test_the_proxy_is_believed(balancer_behind_proxy: Balancer, stack: Stack) -> None:
    """The named proxy's headers give the client's address and scheme, with either scheme."""
    for scheme in ("http", "https"):
        headers = {"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": scheme}
        answer = balancer_behind_proxy.get(
            f"http://{balancer_behind_proxy.domain}/login", source=PROXY, headers=headers
        )
        assert seen(answer, stack) == (CLIENT, scheme)


def test_a_client_of_the_proxy_forges_nothing(
    balancer_behind_proxy: Balancer, stack: Stack
) -> None:
    """What a client has sent stands before what the proxy adds, or under other names."""
    headers = FORGERY | {"X-Forwarded-For": f"{FORGED}, {CLIENT}", "X-Forwarded-Proto": "http"}
    answer = balancer_behind_proxy.get(
        f"http://{balancer_behind_proxy.domain}/login", source=PROXY, headers=headers
    )
    assert seen(answer, stack) == (CLIENT, "http")


@pytest.mark.parametrize(
    "address", ["not an ip", "unix:", "localhost", "198.51.100.7'\"", "[::1", "999.1.1.1", ""]
)
def test_invalid_addresses_and_schemes_are_ignored(
    balancer_behind_proxy: Balancer, stack: Stack, address: str
) -> None:
    """From the proxy, too: then the proxy's own address counts, never the words sent."""
    headers = {"X-Forwarded-For": address, "X-Real-IP": address, "X-Forwarded-Proto": "http"}
    answer = balancer_behind_proxy.get(
        f"http://{balancer_behind_proxy.domain}/login", source=PROXY, headers=headers
    )
    assert seen(answer, stack) == (PROXY, "http")


def test_headers_that_bypass_the_proxy_are_ignored(
    balancer_behind_proxy: Balancer, stack: Stack
) -> None:
    """A client that bypasses the proxy has the connection's address, on http."""
    url = f"http://{balancer_behind_proxy.domain}/login"
    answer = balancer_behind_proxy.get(url, source="127.0.0.3", headers=FORGERY)
    assert seen(answer, stack) == ("127.0.0.3", "http")


def test_without_a_proxy_its_headers_are_ignored(servers_balancer: Balancer, stack: Stack) -> None:
    """On https the scheme is https, and the address the connection's, whatever the headers say."""
    headers = FORGERY | {"X-Forwarded-Proto": "http", "X-Scheme": "http"}
    url = f"https://{servers_balancer.domain}/login"
    answer = servers_balancer.get(url, source=PROXY, headers=headers)
    assert seen(answer, stack) == (PROXY, "https")


@pytest.mark.parametrize(
    "path", ["/", "/login?next=/account", "/static/style.css", "//evil.example/"]
)
def test_http_leads_to_https(servers_balancer: Balancer, path: str) -> None:
    """Every http URL redirects to the same one on https, and a POST stays a POST."""
    domain = servers_balancer.domain
    answer = servers_balancer.get(f"http://{domain}{path}")
    assert (answer.status_code, answer.headers["Location"]) == (308, f"https://{domain}{path}")
    assert "Strict-Transport-Security" not in answer.headers


def test_www_leads_to_the_domain(
    servers_balancer: Balancer, balancer_behind_proxy: Balancer
) -> None:
    """With www. before the domain each address leads to the same one without, on https at once."""
    for balancer, scheme in (
        (servers_balancer, "http"),
        (servers_balancer, "https"),
        (balancer_behind_proxy, "http"),
    ):
        answer = balancer.get(f"{scheme}://www.{balancer.domain}/account?page=2")
        assert answer.status_code == 308
        assert answer.headers["Location"] == f"https://{balancer.domain}/account?page=2"


@pytest.mark.parametrize(
    "path", ["/", "/static/style.css", "/nothing", "/static/nothing", "/metrics"]
)
def test_https_answers_have_strict_transport_security(
    servers_balancer: Balancer, path: str
) -> None:
    """On https every answer, errors and files included, has Strict-Transport-Security."""
    answer = servers_balancer.get(f"https://{servers_balancer.domain}{path}")
    assert re.findall(r"\d+", answer.headers["Strict-Transport-Security"]) == ["31536000"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_other_host_is_answered(servers_balancer: Balancer, scheme: str) -> None:
    """A request for another host gets no answer, or on http a redirect to the service's host."""
    try:
        answer = servers_balancer.get(f"{scheme}://evil.example/")
    except httpx.TransportError:
        return
    assert answer.headers["Location"] == f"https://{servers_balancer.domain}/"
