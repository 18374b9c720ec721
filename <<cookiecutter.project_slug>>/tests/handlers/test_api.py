"""The JSON API: its answers, and the one shape of its errors."""

import json

import pytest
from tornado.httpclient import HTTPResponse

from ..browser import Browser


def error_of(response: HTTPResponse) -> dict[str, object]:
    """Return the error in a JSON answer, which holds nothing else."""
    assert response.headers["Content-Type"] == "application/json; charset=UTF-8"
    (error,) = json.loads(response.body).values()
    assert error["request_id"] == response.headers["X-Request-Id"]
    assert error["message"]
    return error  # type: ignore[no-any-return]


async def test_me_is_the_signed_in_user(browser: Browser) -> None:
    """`/api/me` returns the name of the user."""
    await browser.sign_in()
    response = await browser.get("/api/me")
    assert response.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert json.loads(response.body) == {"name": "ada"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/me", 401),
        ("POST", "/api/me", 403),
        ("FETCH", "/api/me", 405),
        ("GET", "/api/nothing", 404),
        ("POST", "/api/nothing", 404),
    ],
)
async def test_errors_are_json(browser: Browser, method: str, path: str, status: int) -> None:
    """Errors below /api/ are JSON, with the same few fields each time."""
    response = await browser.request(method, path)
    assert response.code == status
    assert error_of(response)["status"] == status


async def test_a_program_sends_the_token_in_a_header(browser: Browser) -> None:
    """Without a form the token is sent in X-XSRFToken; a 405 shows that it was accepted."""
    await browser.get("/login")
    token = {"X-XSRFToken": browser.cookies[browser.xsrf_cookie]}
    assert (await browser.request("POST", "/api/me", headers=token)).code == 405


async def test_no_cache_keeps_an_answer(browser: Browser) -> None:
    """No cache may store an answer to a user."""
    for path in ("/api/me", "/api/nothing"):
        assert (await browser.get(path)).headers["Cache-Control"] == "no-store"
