"""A browser for the tests: it keeps cookies and sends a form's token back."""

import asyncio
#% if cookiecutter.sign_in == "sso"
import html
import re
#% endif
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
<% if cookiecutter.sign_in == "passwords" %>
from urllib.parse import urlencode
<% else %>
from urllib.parse import urlencode, urlsplit
<% endif %>

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.websocket import WebSocketClientConnection, websocket_connect

from .waiting import DEADLINE_SECONDS

SESSION_COOKIE = "<< cookiecutter.project_slug >>-session"
XSRF_COOKIE = "<< cookiecutter.project_slug >>-xsrf"
<% if cookiecutter.sign_in == "passwords" %>
PASSWORD = "correct horse battery staple"
BETTER = "seven green bicycles underwater"
<% endif %>


def cookies_of(response: HTTPResponse) -> SimpleCookie:
    """Return the cookies that an answer sets, with their flags."""
    cookies = SimpleCookie()
    for header in response.headers.get_list("Set-Cookie"):
        cookies.load(header)
    return cookies


<% if cookiecutter.sign_in == "sso" %>
def left_for(response: HTTPResponse) -> str:
    """Return where a page sends the browser on."""
    page = response.body.decode()
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page)
    assert found, page
    return html.unescape(found[1])


<% endif %>
async def next_message(socket: WebSocketClientConnection) -> str | None:
    """Return the next message of the server, None if it closes the socket instead."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        message = await socket.read_message()
    assert not isinstance(message, bytes)
    return message


async def close_code(socket: WebSocketClientConnection) -> int | None:
    """Read until the server closes the socket, and return its code."""
    while await next_message(socket) is not None:
        pass
    return socket.close_code


class Browser:
    """Asks one site, sending `headers` each time; it shows redirects instead of following them."""

    def __init__(self, client: AsyncHTTPClient, url: str, headers: Mapping[str, str]) -> None:
        self.client = client
        self.url = url
        self.headers = dict(headers)
        self.cookies: dict[str, str] = {}
        prefix = "__Host-" if headers.get("X-Forwarded-Proto") == "https" else ""
        self.session_cookie = prefix + SESSION_COOKIE
        self.xsrf_cookie = prefix + XSRF_COOKIE

    async def request(
        self,
        method: str,
        path: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HTTPResponse:
        """Send any request, with the cookies and only what is given here."""
        response = await self.client.fetch(
            self.url + path,
            raise_error=False,
            method=method,
            headers=self._headers(headers),
            body=None if form is None else urlencode(form),
            follow_redirects=False,
            allow_nonstandard_methods=True,
        )
        for name, cookie in cookies_of(response).items():
            self.cookies.pop(name, None)
            if cookie.value:
                self.cookies[name] = cookie.coded_value
        return response

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> HTTPResponse:
        return await self.request("GET", path, headers=headers)

    async def post(
        self,
        path: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HTTPResponse:
        """Send a form, with the token from its page."""
        if self.xsrf_cookie not in self.cookies:
            await self.get("/" if self.session_cookie in self.cookies else "/login")
        token = {"_xsrf": self.cookies[self.xsrf_cookie]}
        return await self.request("POST", path, {**token, **(form or {})}, headers)

<% if cookiecutter.sign_in == "passwords" %>
    async def sign_in(self, name: str = "ada", password: str = PASSWORD) -> HTTPResponse:
        return await self.post("/login", {"name": name, "password": password})
<% else %>
    async def sign_in(self, name: str = "ada", target: str = "/") -> HTTPResponse:
        return await self.get(await self.callback(name, target))

    async def callback(self, name: str = "ada", target: str = "/") -> str:
        """Sign in at the provider; return the path of this site to which it then leads."""
        page = await self.post("/login", {"next": target})
        url = f"{left_for(page)}&{urlencode({'login_hint': name})}"
        response = await self.client.fetch(url, raise_error=False, follow_redirects=False)
        back = urlsplit(response.headers["Location"])
        return f"{back.path}?{back.query}"
<% endif %>

    async def user(self) -> str | None:
        """Return the user who is signed in with this browser, or None."""
        response = await self.get("/api/me")
        if response.code == 401:
            return None
        assert response.code == 200, response.body
        return response.body.decode().removeprefix('{"name": "').removesuffix('"}')

    @asynccontextmanager
    async def websocket(
        self, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[WebSocketClientConnection]:
        """Open the WebSocket of the live panel."""
        url = self.url.replace("http", "ws", 1) + "/live"
        socket = await websocket_connect(HTTPRequest(url, headers=self._headers(headers)))
        try:
            yield socket
        finally:
            socket.close()

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        headers = {**self.headers, **(more or {})}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return headers
