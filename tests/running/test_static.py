"""Pages of two releases and their static files: each gets its own, and no other bytes are kept."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.running.assets import is_kept, named_by_a_page, style_of
from tests.running.faults import changed
from tests.running.processes import Stack
from tests.running.projects import environment_for

pytestmark = pytest.mark.full

ADDITION = "\nbody { outline: 1px solid red }\n"
NOTHING = 128 * "0"


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with stack.client() as client:
        yield client


@contextmanager
def next_release(stack: Stack) -> Iterator[subprocess.Popen[bytes]]:
    """A roll to files of another content is under way; afterwards all is as before."""
    # On localhost both releases have one folder: each process has looked at its files before.
    for url in stack.worker_urls:
        httpx.get(url, trust_env=False)
    with changed(stack.project.package / "static" / "style.css", ADDITION):
        roll = subprocess.Popen(
            ["make", "roll"],
            cwd=stack.project.folder,
            env=environment_for(),
            stdout=subprocess.DEVNULL,
        )
        try:
            yield roll
        finally:
            assert roll.wait() == 0
    stack.project.must("make", "roll")


def test_a_page_of_any_release_gets_its_own_files(stack: Stack, client: httpx.Client) -> None:
    """During and after a roll the files of old and new pages exist, and may be cached."""
    old = named_by_a_page(client)
    content = client.get(style_of(old)).content
    named = set(old)
    with next_release(stack) as roll:
        while roll.poll() is None:
            named |= set(named_by_a_page(client))
            for address in named:
                assert is_kept(client.get(address)), address
        new = named_by_a_page(client)
    assert style_of(old) != style_of(new)
    assert client.get(style_of(old)).content == content
    assert client.get(style_of(new)).content == content + ADDITION.encode()
    for address in (style_of(old), style_of(new)):
        assert is_kept(client.get(address))


@pytest.mark.parametrize(
    "query",
    [
        "",
        "v",
        "v=",
        "v=1",
        f"v={NOTHING}",
        f"v={NOTHING[1:]}",
        f"v={200 * '0'}",
        f"v={'0' * 8000}",
        f"v={'%30' * 128}",
        f"v={'F' * 128}",
        "v=..",
        "v=../../src",
        "v=%2e%2e",
        "v=%00",
        "v=%ff",
        f"v={NOTHING}/..",
        f"v={NOTHING}&v=..",
        f"v=..&v={NOTHING}",
    ],
    ids=lambda query: query[:20],
)
def test_a_file_without_its_hash_is_not_cached(query: str, client: httpx.Client) -> None:
    """With any other version in the URL the current file is served, and revalidated."""
    today = client.get("/static/style.css")
    answer = client.get(f"/static/style.css?{query}")
    assert not is_kept(answer)
    assert answer.content == today.content


@pytest.mark.parametrize("name", ["../settings.py", "%2e%2e/settings.py", "", "static/", "nothing"])
def test_no_hash_leads_out_of_its_folder(name: str, stack: Stack, client: httpx.Client) -> None:
    """An existing hash opens only the files that were published under it."""
    version = style_of(named_by_a_page(client)).partition("?v=")[2]
    url = f"{stack.url}/static/{name}"
    answer = client.get(httpx.URL(url, query=f"v={version}".encode()))
    assert answer.status_code in (403, 404), answer.url
    assert "immutable" not in answer.headers.get("Cache-Control", "")


def test_the_store_has_no_url(client: httpx.Client) -> None:
    """Published files are reachable only by their URL below /static/."""
    version = style_of(named_by_a_page(client)).partition("?v=")[2]
    for path in (f"/{version}/static/style.css", f"/published/{version}/static/style.css"):
        for query in ("", f"?v={version}"):
            assert client.get(path + query).status_code == 404


def test_files_at_the_root_are_revalidated(client: httpx.Client) -> None:
    """Their URLs are fixed, so no page can name a version of them."""
    for name in ("robots.txt", "favicon.ico", "apple-touch-icon.png"):
        assert not is_kept(client.get(f"/{name}?v={NOTHING}"))
