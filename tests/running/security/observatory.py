"""The rules by which MDN's HTTP Observatory scores a site, written anew from its description.

That is the page "Tests & Scoring" of the Observatory, which gives each test's outcomes and their
points. Left out are what needs a list from elsewhere (preloaded HSTS) and what nobody has any more
(crossdomain.xml). A site begins with 100; points are taken off, and from 90 on added too.
"""

import re
from html.parser import HTMLParser
from http.cookies import Morsel, SimpleCookie
from urllib.parse import urlsplit

import httpx

SIX_MONTHS = 15_768_000
PRIVATE_REFERRERS = {
    *("no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"),
}
BROAD_SOURCES = {"*", "http:", "https:", "data:", "http://*", "https://*"}
UNSAFE_SOURCES = BROAD_SOURCES | {"'unsafe-inline'"}


def score(page: httpx.Response, plain: httpx.Response | None) -> dict[str, int]:
    """Return the points of each test for a page on https and the answer to the same on http."""
    policy = directives(page.headers.get("Content-Security-Policy", ""))
    return {
        "content-security-policy": score_policy(policy),
        "cookies": score_cookies(page),
        "cross-origin-resource-sharing": score_sharing(page),
        "redirection": score_redirection(page, plain),
        "referrer-policy": score_referrer(page),
        "strict-transport-security": score_transport(page),
        "subresource-integrity": score_scripts(page),
        "x-content-type-options": score_sniffing(page),
        "x-frame-options": score_frames(page, policy),
        "cross-origin-resource-policy": score_embedding(page),
    }


def before_bonus(points: dict[str, int]) -> int:
    return 100 + sum(value for value in points.values() if value < 0)


def directives(policy: str) -> dict[str, set[str]]:
    """The sources that a policy allows, by directive; of two with one name the first counts."""
    found: dict[str, set[str]] = {}
    for directive in policy.split(";"):
        name, *sources = directive.split() or [""]
        if name:
            found.setdefault(name.lower(), {source.lower() for source in sources} or {"'none'"})
    return found


def score_policy(policy: dict[str, set[str]]) -> int:
    if not policy:
        return -25
    default = policy.get("default-src", {"*"})
    scripts, objects, styles = (
        policy.get(name, default) for name in ("script-src", "object-src", "style-src")
    )
    if scripts & UNSAFE_SOURCES or objects & BROAD_SOURCES:
        return -20
    fetched = set().union(*(sources for name, sources in policy.items() if name.endswith("-src")))
    passive = {"img-src", "media-src"}
    if any(source.startswith("http:") for source in fetched):
        active = set().union(
            *(s for n, s in policy.items() if n.endswith("-src") and n not in passive)
        )
        return -20 if any(source.startswith("http:") for source in active) else -10
    if "'unsafe-eval'" in scripts | styles:
        return -10
    if styles & UNSAFE_SOURCES:
        return 0
    return 10 if default == {"'none'"} else 5


def score_cookies(page: httpx.Response) -> int:
    cookies: list[Morsel[str]] = [
        morsel
        for line in page.headers.get_list("Set-Cookie")
        for morsel in SimpleCookie(line).values()
    ]
    promised = score_transport(page) == 0
    points = [0] if not cookies else [5]
    for cookie in cookies:
        session = bool(re.search("sess|login|sid$", cookie.key, re.I))
        token = bool(re.search("csrf|xsrf", cookie.key, re.I))
        # A browser drops a cookie whose prefix promises what its flags do not keep.
        kept = not cookie.key.startswith("__Host-") or (
            cookie["secure"] and cookie["path"] == "/" and not cookie["domain"]
        )
        if not cookie["secure"] or not kept:
            points.append((-10 if session else -5) if promised else (-40 if session else -20))
        if session and not cookie["httponly"]:
            points.append(-30)
        if cookie["samesite"] and cookie["samesite"].lower() not in ("lax", "strict", "none"):
            points.append(-20)
        if not cookie["samesite"]:
            points.append(-20 if token else 0)
    return min(points)


def score_sharing(page: httpx.Response) -> int:
    allowed = page.headers.get("Access-Control-Allow-Origin")
    with_credentials = page.headers.get("Access-Control-Allow-Credentials", "").lower() == "true"
    return -50 if with_credentials and allowed == page.request.headers.get("Origin", "*") else 0


def score_redirection(page: httpx.Response, plain: httpx.Response | None) -> int:
    """`plain` is None where nothing listens for http."""
    if plain is None:
        return 0
    if not plain.has_redirect_location:
        return -20
    target = urlsplit(plain.headers["Location"])
    if target.scheme != "https":
        return -20
    return 0 if target.hostname == page.request.headers["Host"] else -5


def score_referrer(page: httpx.Response) -> int:
    policies = page.headers.get_list("Referrer-Policy", split_commas=True)
    if not policies:
        return 0
    return 5 if policies[-1].lower() in PRIVATE_REFERRERS else -5


def score_transport(page: httpx.Response) -> int:
    header = page.headers.get("Strict-Transport-Security", "")
    age = re.search(r"max-age=\"?(\d+)", header)
    if not age:
        return -20
    return 0 if int(age[1]) >= SIX_MONTHS else -10


class Scripts(HTMLParser):
    """The addresses of a page's scripts, and whether each has a digest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, bool]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "script" and named.get("src"):
            self.found.append((named["src"] or "", bool(named.get("integrity"))))


def score_scripts(page: httpx.Response) -> int:
    scripts = Scripts(page.text).found
    foreign = [
        (urlsplit(source), digest)
        for source, digest in scripts
        if urlsplit(source).netloc not in ("", page.request.headers["Host"])
    ]
    if not foreign:
        return 5 if scripts and all(digest for _, digest in scripts) else 0
    digests = all(digest for _, digest in foreign)
    if any(source.scheme == "http" for source, _ in foreign):
        return -20 if digests else -50
    return 5 if digests else -5


def score_sniffing(page: httpx.Response) -> int:
    return 0 if page.headers.get("X-Content-Type-Options", "").lower() == "nosniff" else -5


def score_frames(page: httpx.Response, policy: dict[str, set[str]]) -> int:
    if not policy.get("frame-ancestors", {"*"}) & BROAD_SOURCES:
        return 5
    return 0 if page.headers.get("X-Frame-Options", "").lower() in ("deny", "sameorigin") else -20


def score_embedding(page: httpx.Response) -> int:
    policy = page.headers.get("Cross-Origin-Resource-Policy")
    return 0 if policy in (None, "same-origin", "same-site") else -20
