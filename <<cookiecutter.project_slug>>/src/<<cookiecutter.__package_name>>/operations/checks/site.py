# Part of the template: you need not edit this file.
"""The checks on a site, from outside.

They send about thirty harmless requests; run them only on your own sites.
"""

import asyncio
import io
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable
from http.cookies import Morsel, SimpleCookie
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.websocket import websocket_connect

from .findings import Finding, error, unchecked, warning

TIMEOUT_SECONDS = 10
# A certificate is renewed before that, by Let's Encrypt's programs for one.
RENEWED_DAYS = 14
NOWHERE = "/no-such-page-as-this"
PAGES = ("/", "/static/style.css", NOWHERE, "/api/me")
# Headers that every answer has, with what their values must contain.
NEEDED_HEADERS = {
    "Content-Security-Policy": r"frame-ancestors 'none'",
    "X-Content-Type-Options": r"nosniff",
    "Referrer-Policy": r".",
    "Permissions-Policy": r".",
    "Cross-Origin-Opener-Policy": r"same-origin",
    "Cross-Origin-Resource-Policy": r"same-",
}
UNSAFE_POLICY = re.compile(r"'unsafe-(inline|eval|hashes)'|script-src[^;]*\*")
LEAK = re.compile(r"Traceback|File \"/|site-packages|nginx/\d|TornadoServer")


class SiteError(Exception):
    """The site cannot be reached at all; the message says why."""


class Site:
    """The site of a URL, which may be that of a page. Raises SiteError for an invalid URL."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url.strip())
            # It raises ValueError for a port that is none.
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise SiteError(f"{url} is no address of a site. Give one such as https://example.com.")
        # A name and a password before the @ stay unchanged.
        user, at, host = parts.netloc.rpartition("@")
        self.url = f"{parts.scheme}://{user}{at}{host.lower()}"
        self.https = parts.scheme == "https"
        self._client = AsyncHTTPClient(force_instance=True)

    async def get(self, path: str, *, url: str | None = None, **headers: str) -> HTTPResponse:
        """Return the answer, with any status; redirects are not followed."""
        request = HTTPRequest(
            (url or self.url) + path,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            follow_redirects=False,
            connect_timeout=TIMEOUT_SECONDS,
            request_timeout=TIMEOUT_SECONDS,
        )
        try:
            return await self._client.fetch(request, raise_error=False)
        except (HTTPClientError, OSError) as problem:
            return HTTPResponse(request, 599, error=problem, buffer=io.BytesIO())

    async def certificate_end(self) -> float | None:
        """Return when the certificate ends, in seconds since 1970; None where there is none."""
        parts = urlsplit(self.url)
        context = ssl.create_default_context() if self.https else None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                opened = asyncio.open_connection(parts.hostname, parts.port or 443, ssl=context)
                _, writer = await opened
        except OSError:
            # `service` reports that.
            return None
        certificate = writer.get_extra_info("peercert") or {}
        writer.close()
        return ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate else None


async def check_site(url: str) -> list[Finding]:
    """Run all the checks on the site and return what they found. Raises SiteError."""
    site = Site(url)
    answer = await site.get("/")
    if answer.code == 599:
        raise SiteError(f"{site.url} cannot be reached: {answer.error}. Check the address.")
    return [finding for check in CHECKS async for finding in check(site)]


async def service(site: Site) -> AsyncIterator[Finding]:
    """U001: the service answers, not the balancer in its place."""
    for path in (*PAGES, "/login", "/readyz"):
        code = (await site.get(path)).code
        if code >= 500:
            yield error(
                "U001",
                f"{path} {'does not answer' if code == 599 else f'answers {code}'}, so the other"
                " findings say little about the site.",
                "Look for the cause in the logs and the runbook. Then check again.",
            )


async def headers(site: Site) -> AsyncIterator[Finding]:
    """H001, H002, H003: the headers that protect visitors are on pages, files and errors alike."""
    for path in PAGES:
        answer = await site.get(path)
        for name, pattern in NEEDED_HEADERS.items():
            values = answer.headers.get_list(name)
            if len(values) != 1 or not re.search(pattern, values[0]):
                yield error(
                    "H001",
                    f"{path} answers with {name}: {', '.join(values) or '(none)'}.",
                    "It must be there once; runtime/handlers.py and the balancer's files set it.",
                )
        if UNSAFE_POLICY.search(answer.headers.get("Content-Security-Policy", "")):
            yield error(
                "H002",
                f"The Content-Security-Policy of {path} allows unsafe scripts or styles.",
                "Move them into files below static/ and remove the exception.",
            )
        if re.search(r"\d", answer.headers.get("Server", "")):
            yield warning(
                "H003",
                f"{path} shows its software's version: {answer.headers['Server']}.",
                "Switch it off: `server_tokens off` in nginx.",
            )


async def transport(site: Site) -> AsyncIterator[Finding]:
    """T101, T102, T103: the site is on https, stays there, and http leads to it."""
    parts = urlsplit(site.url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not site.https:
        if not local:
            yield error(
                "T101",
                "The site is on plain http: attackers on the network can read and change it.",
                "Get a certificate; deploy/README.md explains how.",
            )
        return
    policy = (await site.get("/")).headers.get("Strict-Transport-Security", "")
    age = re.search(r"max-age=(\d+)", policy)
    # Not for localhost, where it would apply to every port of the machine.
    if not local and (not age or int(age[1]) < 15_768_000):
        yield error(
            "T102",
            f"Strict-Transport-Security is {policy or '(none)'}: less than half a year.",
            "The service sends it when the balancer says X-Forwarded-Proto: https.",
        )
    if parts.port in (None, 443):
        host = parts.netloc.rpartition("@")[2].removesuffix(":443")
        plain = await site.get("/", url=f"http://{host}")
        if plain.code != 599 and not plain.headers.get("Location", "").startswith("https://"):
            yield error(
                "T103",
                f"Over http the site answers {plain.code} instead of leading to https.",
                "Redirect all of port 80 in the balancer.",
            )


async def certificate(site: Site) -> AsyncIterator[Finding]:
    """T104: the certificate does not end within two weeks."""
    end = await site.certificate_end() if site.https else None
    days = (end - time.time()) / (24 * 60 * 60) if end else RENEWED_DAYS
    if days < RENEWED_DAYS:
        yield warning(
            "T104",
            f"The certificate ends in {days:.0f} days.",
            "Renew it, and deploy; for Let's Encrypt `systemctl status certbot.timer` on the server.",
        )


async def cookies(site: Site) -> AsyncIterator[Finding]:
    """C001: cookies are bound to the site, to https, and out of reach for scripts."""
    for morsel in await _cookies(site):
        missing = [flag for flag in ("httponly", "samesite") if not morsel[flag]]
        if site.https and not morsel["secure"]:
            missing.append("secure")
        if site.https and not morsel.key.startswith("__Host-"):
            missing.append("the prefix __Host-")
        if missing:
            yield error(
                "C001",
                f"The cookie {morsel.key} lacks {', '.join(missing)}.",
                "The service adds them when the balancer says X-Forwarded-Proto: https.",
            )


async def forged_headers(site: Site) -> AsyncIterator[Finding]:
    """P001, P002, P003: a client cannot forge the scheme, the request id or the host."""
    if site.https:
        for morsel in await _cookies(site, X_Forwarded_Proto="http", X_Scheme="http"):
            if not morsel["secure"]:
                yield error(
                    "P001",
                    "A client's X-Forwarded-Proto or X-Scheme reaches the service.",
                    "The balancer must overwrite both.",
                )
    forged = "0123456789abcdef" * 2
    answer = await site.get("/", X_Request_Id=forged)
    if answer.headers.get("X-Request-Id") == forged:
        yield error(
            "P002",
            "A client's X-Request-Id reaches the service: the logs can be confused.",
            "The balancer must overwrite it.",
        )
    answer = await site.get("/", Host="forged.invalid")
    if answer.code != 599 and answer.code < 400 and b"<html" in answer.body:
        yield error(
            "P003",
            "The site answers to any Host.",
            "The balancer's default server must drop what is not for this site.",
        )


async def private_addresses(site: Site) -> AsyncIterator[Finding]:
    """A001: pages for operators cannot be reached from outside."""
    if (await site.get("/metrics")).code == 200:
        yield error(
            "A001",
            "/metrics is public.",
            "The balancer must answer 404; Prometheus asks each process on its own port.",
        )


async def websocket_origin(site: Site) -> AsyncIterator[Finding]:
    """W002, W001: a page of another site cannot open our WebSockets in a visitor's name."""
    request = HTTPRequest(
        re.sub(r"^http", "ws", site.url) + "/live",
        headers={"Origin": "https://forged.invalid"},
        connect_timeout=TIMEOUT_SECONDS,
        request_timeout=TIMEOUT_SECONDS,
    )
    try:
        connection = await websocket_connect(request)
    except (HTTPClientError, OSError) as problem:
        if not isinstance(problem, HTTPClientError) or problem.code >= 500:
            yield unchecked(
                "W002",
                f"/live fails, so its check of origins is unknown: {problem}.",
                "Check again when it answers.",
            )
        return
    connection.close()
    yield error(
        "W001",
        "A WebSocket can be opened from a page of another site.",
        "Let check_origin of the handler refuse it, and the balancer pass Host and Origin on.",
    )


async def leaks(site: Site) -> AsyncIterator[Finding]:
    """E001: an error page shows no internals."""
    for path in (NOWHERE, "/static/%00", "/login?next=%ff"):
        answer = await site.get(path)
        if found := LEAK.search(answer.body.decode(errors="replace")):
            yield error(
                "E001",
                f"The error page of {path} shows internals: {found[0]!r}.",
                "Switch off SERVE_TRACEBACK and DEBUG, and `server_tokens` in nginx.",
            )


CHECKS: tuple[Callable[[Site], AsyncIterator[Finding]], ...] = (
    service,
    headers,
    transport,
    certificate,
    cookies,
    forged_headers,
    private_addresses,
    websocket_origin,
    leaks,
)


async def _cookies(site: Site, **headers: str) -> list[Morsel[str]]:
    answer = await site.get("/login", **headers)
    return [
        morsel
        for line in answer.headers.get_list("Set-Cookie")
        for morsel in SimpleCookie(line).values()
    ]
