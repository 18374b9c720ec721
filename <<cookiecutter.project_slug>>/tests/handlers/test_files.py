"""Static files, as they are served without a balancer."""

import hashlib
import re
from pathlib import Path

import pytest

import << cookiecutter.__package_name >> as service

from ..browser import Browser

STATIC = Path(service.__file__).parent / "static"
FOREVER = "public, max-age=31536000, immutable"
AT_THE_ROOT = {
    "robots.txt": "text/plain",
    "favicon.ico": "image/",
    "apple-touch-icon.png": "image/png",
}


async def test_every_asset_of_a_page_is_there_and_kept_for_ever(browser: Browser) -> None:
    """A page names its assets with the hash of their content, so that no browser asks twice."""
    await browser.sign_in()
    assets = set()
    for path in ("/", "/login", "/account", "/nothing"):
        page = (await browser.get(path)).body.decode()
        assets |= set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
    assert len(assets) >= 5
    for asset in assets:
        name, _, version = asset.removeprefix("/static/").partition("?v=")
        content = (STATIC / name).read_bytes()
        response = await browser.get(asset)
        assert response.code == 200
        assert response.body == content
        assert response.headers["Cache-Control"] == FOREVER
        assert "Expires" not in response.headers
        assert "Set-Cookie" not in response.headers
        assert hashlib.sha512(content).hexdigest() == version


async def test_a_file_without_its_version_is_asked_for_again(browser: Browser) -> None:
    """Without the hash in its address a file may be kept, and checked each time."""
    response = await browser.get("/static/style.css")
    assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/static/style.css", "/robots.txt", "/static/logo.svg?v=1"])
async def test_an_unchanged_file_is_not_sent_again(browser: Browser, path: str) -> None:
    """A browser that has the file already is told that it has not changed."""
    first = await browser.get(path)
    for header in (
        {"If-None-Match": first.headers["Etag"]},
        {"If-Modified-Since": first.headers["Last-Modified"]},
    ):
        again = await browser.get(path, header)
        assert again.code == 304
        assert again.body == b""
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
    assert (await browser.get(path, {"If-None-Match": '"another"'})).code == 200


@pytest.mark.parametrize("name", AT_THE_ROOT)
async def test_what_clients_look_for_at_the_root_is_there(browser: Browser, name: str) -> None:
    """Crawlers and browsers find the few files whose addresses they know."""
    response = await browser.get(f"/{name}")
    assert response.code == 200
    assert response.body == (STATIC / name).read_bytes()
    assert response.headers["Content-Type"].startswith(AT_THE_ROOT[name])
    assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../settings.py",
        "/static/%2e%2e/settings.py",
        "/static/..%2fsettings.py",
        "/static/..%5csettings.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/style.css%00.png",
        "/static/" + "../" * 20 + "etc/passwd",
        "/static/",
        "/static/nothing.css",
        "/static/" + "x" * 300,
    ],
)
async def test_nothing_outside_the_folder_is_served(browser: Browser, path: str) -> None:
    """No spelling of an address leads out of the folder, and none makes the service fail."""
    response = await browser.get(path)
    assert 400 <= response.code < 500
    assert b"import" not in response.body


async def test_a_file_takes_no_session(browser: Browser) -> None:
    """Files are for everybody: no cookie is read, let alone looked up."""
    browser.cookies[browser.session_cookie] = "nonsense"
    assert (await browser.get("/static/style.css")).code == 200
