"""The static files that pages name, as a browser would have and keep them."""

import hashlib
import re

import httpx

IMMUTABLE = "public, max-age=31536000, immutable"


def named_by_a_page(client: httpx.Client) -> list[str]:
    """The addresses of static files, with their versions, that the home page names."""
    found = re.findall(r'"(/static/[^"]+\?v=[^"]+)"', client.get("/").text)
    assert len(found) >= 4
    return found


def style_of(addresses: list[str]) -> str:
    """The one of these that is the style sheet."""
    (style,) = (address for address in addresses if "/style.css" in address)
    return style


def is_kept(answer: httpx.Response) -> bool:
    """Whether a browser may cache this file for good; its bytes must then match the hash."""
    assert answer.status_code == 200, answer.url
    kept = answer.headers["Cache-Control"]
    if kept != IMMUTABLE:
        assert kept == "no-cache", answer.url
        return False
    assert hashlib.sha512(answer.content).hexdigest() == answer.url.params["v"], answer.url
    return True
