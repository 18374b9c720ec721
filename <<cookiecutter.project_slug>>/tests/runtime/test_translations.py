"""The language of the pages: English, or another one with a catalogue."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

#% if cookiecutter.sign_in == "sso"
from << cookiecutter.__package_name >>.accounts import AllowList
#% endif
from << cookiecutter.__package_name >>.runtime.translations import load_translations

from ..browser import Browser
<% if cookiecutter.sign_in == "sso" %>
from ..running import Site
<% endif %>

# A language for which no team has a catalogue.
LANGUAGE = "xx"
TEXTS = {
    "": "Content-Type: text/plain; charset=UTF-8",
    "Connecting…": "Verbindung wird aufgebaut",
    "Hello, {name}": "Hallo, {name}",
    "Not Found": "Nicht gefunden",
#% if cookiecutter.sign_in == "passwords"
    "Show password": "Passwort zeigen",
#% endif
    "Sign in": "Anmelden",
#% if cookiecutter.sign_in == "passwords"
    "The name or the password is wrong.": "Name oder Passwort stimmt nicht.",
#% endif
    "There is nothing at this address.": "Unter dieser Adresse gibt es nichts.",
#% if cookiecutter.sign_in == "passwords"
    "Too many attempts. Try again in {minutes} minutes.": "In {minutes} Minuten geht es weiter.",
#% else
    "Your account at the provider may not use this service.": "Dieses Konto ist nicht zugelassen.",
#% endif
}


def catalogue(texts: dict[str, str]) -> bytes:
    """Return these texts as a `.mo` file, as gettext's tools write it."""
    pairs = sorted((text.encode(), translated.encode()) for text, translated in texts.items())
    head = struct.pack("<6I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0) + bytes(4)
    tables, strings, start = b"", b"", 28 + 16 * len(pairs)
    for column in zip(*pairs, strict=True):
        for text in column:
            tables += struct.pack("<2I", len(text), start + len(strings))
            strings += text + b"\0"
    return head + tables + strings


@pytest.fixture
def foreign(browser: Browser, tmp_path: Path) -> Iterator[Browser]:
    """A browser that prefers another language, and a site with its catalogue."""
    file = tmp_path / "locale" / LANGUAGE / "LC_MESSAGES" / "messages.mo"
    file.parent.mkdir(parents=True)
    file.write_bytes(catalogue(TEXTS))
    load_translations(tmp_path / "locale", "en")
    browser.headers["Accept-Language"] = f"{LANGUAGE}-AT,{LANGUAGE};q=0.9,en;q=0.8"
    yield browser
    file.unlink()
    load_translations(tmp_path / "locale", "en")


async def test_without_a_catalogue_pages_are_english(browser: Browser) -> None:
    """Without a catalogue every browser gets English, the language of the code."""
    plain = (await browser.get("/nothing")).body.decode()
    assert '<html lang="en">' in plain
    asked = (await browser.get("/nothing", {"Accept-Language": LANGUAGE})).body.decode()
    assert asked.partition("<footer")[0] == plain.partition("<footer")[0]


async def test_a_page_is_in_the_language_of_its_browser(foreign: Browser) -> None:
    """Templates, their texts for scripts, titles and messages are translated; `lang` is set."""
    page = (await foreign.get("/login")).body.decode()
    assert f'<html lang="{LANGUAGE}">' in page
    assert "<h1>Anmelden</h1>" in page
#% if cookiecutter.sign_in == "passwords"
    assert 'data-show="Passwort zeigen"' in page
#% endif
    missing = (await foreign.get("/nothing")).body.decode()
    assert "<h1>Nicht gefunden</h1>" in missing
    assert "Unter dieser Adresse gibt es nichts." in missing
    await foreign.sign_in()
    home = (await foreign.get("/")).body.decode()
    assert "Hallo, ada" in home
    assert 'data-connecting="Verbindung wird aufgebaut"' in home


<% if cookiecutter.sign_in == "passwords" %>
async def test_an_account_error_is_in_the_language_of_its_browser(foreign: Browser) -> None:
    """The errors of the accounts are translated, with their numbers."""
    refused = (await foreign.sign_in(password="wrong")).body.decode()
    assert "Name oder Passwort stimmt nicht." in refused
    for _ in range(10):
        refused = (await foreign.sign_in(password="wrong")).body.decode()
    assert "In 15 Minuten geht es weiter." in refused
<% else %>
async def test_an_account_error_is_in_the_language_of_its_browser(
    foreign: Browser, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The errors of the accounts are translated."""
    monkeypatch.setattr(site.app.settings["accounts"], "_allowed", AllowList())
    refused = (await foreign.sign_in()).body.decode()
    assert "Dieses Konto ist nicht zugelassen." in refused
<% endif %>


async def test_a_browser_that_prefers_english_gets_english(foreign: Browser) -> None:
    """English needs no catalogue to be preferred."""
    page = await foreign.get("/login", {"Accept-Language": f"en-GB,en;q=0.9,{LANGUAGE};q=0.8"})
    assert '<html lang="en">' in page.body.decode()
    assert "<h1>Sign in</h1>" in page.body.decode()


async def test_json_errors_are_english(foreign: Browser) -> None:
    """An error in JSON has the same text in every language."""
    assert b"There is nothing at this address." in (await foreign.get("/api/nothing")).body
