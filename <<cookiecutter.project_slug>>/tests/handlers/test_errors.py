"""The answer to unknown addresses."""

import pytest

from ..browser import Browser


@pytest.mark.parametrize(
    "path", ["/nothing", "/login/", "/account/x", "//", "/%00", "/..%2f", "/%ff"]
)
async def test_an_unknown_address_is_not_found(browser: Browser, path: str) -> None:
    """An address without a route is answered with a page that says 404."""
    response = await browser.get(path)
    assert response.code == 404
    assert "There is nothing at this address." in response.body.decode()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_form_to_an_unknown_address_is_not_found_either(
    browser: Browser, method: str
) -> None:
    """The answer is 404, not a refused token, and to a form of another site, too."""
    headers = {"Origin": "https://evil.example"}
    assert (await browser.request(method, "/nothing", {}, headers)).code == 404
