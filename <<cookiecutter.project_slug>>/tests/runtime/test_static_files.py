"""Static files without a balancer."""

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


async def test_every_asset_of_a_page_exists_and_is_cached(browser: Browser) -> None:
    """A page names its assets with the hash of their content, and browsers cache them."""
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


@pytest.mark.parametrize(
    "version",
    [
        "",
        "v=",
        "v=1",
        "v=" + 128 * "0",
        "v=" + 200 * "0",
        "v=" + 128 * "%30",
        "v=..",
        "v=%2e%2e%2f%2e%2e",
        "v=%00",
        "v=%ff",
        "v=../../settings.py&v=" + 128 * "0",
    ],
)
async def test_a_file_without_its_hash_is_revalidated(browser: Browser, version: str) -> None:
    """Without the content's hash in the URL a file is served, and revalidated each time."""
    response = await browser.get(f"/static/style.css?{version}")
    assert response.code == 200
    assert response.body == (STATIC / "style.css").read_bytes()
    assert response.headers["Cache-Control"] == "no-cache"


async def test_a_page_of_another_release_gets_its_own_files(
    browser: Browser, nowhere: Path
) -> None:
    """A published hash serves its file, even after this release no longer has it."""
    content = b"a { color: red }"
    version = hashlib.sha512(content).hexdigest()
    for name in ("style.css", "gone.css"):
        address = f"/static/{name}?v={version}"
        assert (await browser.get(address)).body != content
        file = nowhere / "published" / version / "static" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        response = await browser.get(address)
        assert response.body == content
        assert response.headers["Cache-Control"] == FOREVER
        assert response.headers["Content-Type"] == "text/css"
    assert (await browser.get("/static/gone.css")).code == 404


async def test_only_matching_content_is_cached_under_a_hash(
    browser: Browser, nowhere: Path
) -> None:
    """A file that is published under a wrong hash is served, and revalidated each time."""
    file = nowhere / "published" / (128 * "0") / "static" / "style.css"
    file.parent.mkdir(parents=True)
    file.write_text("something else")
    response = await browser.get(f"/static/style.css?v={128 * '0'}")
    assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/static/style.css", "/robots.txt", "/static/logo.svg?v=1"])
async def test_an_unchanged_file_is_not_sent_again(browser: Browser, path: str) -> None:
    """A browser with the current file gets 304."""
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
async def test_the_files_at_the_root_exist(browser: Browser, name: str) -> None:
    """Crawlers and browsers find the few files with fixed addresses."""
    response = await browser.get(f"/{name}")
    assert response.code == 200
    assert response.body == (STATIC / name).read_bytes()
    assert response.headers["Content-Type"].startswith(AT_THE_ROOT[name])
    assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("version", ["", f"?v={128 * 'a'}"])
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
async def test_nothing_outside_the_folder_is_served(
    browser: Browser, nowhere: Path, path: str, version: str
) -> None:
    """No spelling of a path leads out of the folder or makes the service fail."""
    (nowhere / "published" / (128 * "a") / "static").mkdir(parents=True)
    for folder in ("published", "published/" + 128 * "a"):
        (nowhere / folder / "settings.py").write_text("import this")
    response = await browser.get(path + version)
    assert 400 <= response.code < 500
    assert b"import" not in response.body


async def test_files_need_no_session(browser: Browser) -> None:
    """Files are public: the session cookie is not even read."""
    browser.cookies[browser.session_cookie] = "nonsense"
    assert (await browser.get("/static/style.css")).code == 200
