"""Where a login leads, judged by the rules by which browsers read addresses, and by a browser.

The rules are those of the URL standard of the WHATWG, as far as they decide whose site it is.
"""

import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser

from tests.running.projects import Project, environment_for

pytestmark = pytest.mark.full

SITE = "https://site.example"
# What addresses are made of, and what browsers drop, or take for it.
PIECES = [
    *("/", "\\", ":", "@", "?", "#", ".", "..", "%2f", "%5c", "%09", "//", "/\\", "evil.example"),
    *("https", "HTTPS:", "http", "javascript", "data", "x-y.z+1", "[::1]", "1"),
    *("\t", "\n", "\r", "\0", " ", "\x0b", "\x0c", "\x1f", "\x7f", "\x85", "\xa0", "\ufeff"),
    *("\u2028", "\u3000", "\u3002", "\uff0f", "\uff3c", "\u2215", "\xe9", "\u202e"),
]
TARGETS = st.lists(
    st.one_of(st.sampled_from(PIECES), st.characters(codec="utf-8")), max_size=8
).map("".join)
ASKING = """
import json, sys
from {}.handlers.login import safe_next
for line in sys.stdin:
    print(json.dumps(safe_next(json.loads(line))), flush=True)
"""
many = settings(
    max_examples=2000,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def leaves_the_site(target: str) -> bool:
    """Whether a browser on a page of SITE, told to go there, would leave it."""
    text = re.sub(r"[\t\n\r]", "", target.strip("".join(map(chr, range(0x21)))))
    scheme, rest = re.fullmatch(r"(?s)(?:([A-Za-z][A-Za-z0-9+.-]*):)?(.*)", text).groups()
    if scheme and scheme.lower() != "https":
        return True
    # Of the page's own scheme it is the same with and without.
    return bool(re.match(r"[/\\]{2}", rest))


@pytest.fixture(scope="module")
def safe_next(default_project: Project) -> Iterator[Callable[[str], str]]:
    """The project's own function, in a process of the project."""
    with subprocess.Popen(
        [default_project.program("python"), "-c", ASKING.format(default_project.package_name)],
        env=environment_for(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def ask(target: str) -> str:
            print(json.dumps(target), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


def test_no_target_leaves_the_site(safe_next: Callable[[str], str]) -> None:
    """The result for any target is a path on the site."""

    @many
    @given(TARGETS)
    def stays(target: str) -> None:
        answer = safe_next(target)
        assert answer in (target, "/")
        assert answer.startswith("/")
        assert not leaves_the_site(answer)

    stays()


def test_a_plain_path_is_kept(safe_next: Callable[[str], str]) -> None:
    """Harmless targets are not refused."""

    @many
    @given(st.from_regex(r"(/[a-z0-9.~%-]+)+/?(\?[a-z0-9=&/:]*)?(#[a-z]*)?", fullmatch=True))
    def kept(path: str) -> None:
        assert safe_next(path) == path

    kept()


@pytest.mark.parametrize(
    "guard",
    [
        lambda target: target.startswith("/"),
        lambda target: target.startswith("/") and not target.startswith("//"),
        lambda target: re.match(r"/[^/\\]", target),
        lambda target: "//" not in target and "\\" not in target and ":" not in target,
    ],
    ids=["a slash", "one slash", "one slash of any kind", "no two slashes"],
)
def test_the_targets_defeat_common_guards(guard: Callable[[str], bool]) -> None:
    """The targets tried here include those that defeat common guards."""
    found = find(
        TARGETS,
        lambda target: guard(target) and leaves_the_site(target),
        settings=settings(many, max_examples=100_000),
    )
    assert leaves_the_site(found)


def test_a_browser_agrees(chromium: Browser, safe_next: Callable[[str], str]) -> None:
    """Chromium reads thousands of targets as these rules do, and none leads it elsewhere."""
    targets = ["".join(pieces) for n in (1, 2) for pieces in itertools.product(PIECES, repeat=n)]
    targets += [f"{a}{b}evil.example" for a, b in itertools.product(targets, ["/", "\\", "\t/"])]
    page = chromium.new_page()
    read = """([targets, page]) => targets.map(target => {
        try { return new URL(target, page).origin } catch { return null }
    })"""
    origins = page.evaluate(read, [targets, f"{SITE}/login"])
    for target, origin in zip(targets, origins, strict=True):
        # What it cannot read leads nowhere.
        assert origin is None or (origin != SITE) == leaves_the_site(target), repr(target)
    answers = [safe_next(target) for target in targets]
    assert {*answers} > {"/", "/evil.example"}
    assert {*page.evaluate(read, [answers, f"{SITE}/login"])} == {SITE}
    page.close()
