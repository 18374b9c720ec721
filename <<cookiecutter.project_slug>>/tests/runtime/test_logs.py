"""The logs: their format, and what they never contain."""

import asyncio
import json
import logging
import re
import signal
import sys
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text

from << cookiecutter.__package_name >>.handlers.base import PageHandler
from << cookiecutter.__package_name >>.runtime.logs import JsonFormatter, configure_logs

#% if cookiecutter.sign_in == "passwords"
from ..browser import BETTER, PASSWORD
#% endif
from ..conftest import SECRET
#% if cookiecutter.sign_in == "sso"
from ..provider import CLIENT_SECRET
#% endif
from ..running import Process, Site

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
Start = Callable[..., Awaitable[Process]]
QUERY = "token=in-the-query-string"


class Fails(PageHandler):
    def get(self) -> None:
        raise RuntimeError("on purpose")


def requests_in(lines: list[str]) -> list[dict[str, object]]:
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [entry for entry in entries if entry["logger"] == "request"]


async def test_a_request_is_one_line(site: Site, logs: Callable[[], list[str]]) -> None:
    """Each request is one JSON object with the request, its client and its result."""
    request_id = "f" * 32
    browser = site.browser(X_Real_IP="192.0.2.9")
    await browser.get(f"/login?{QUERY}", {"X-Request-Id": request_id})
    (entry,) = requests_in(logs())
    assert entry == {
        "time": entry["time"],
        "level": "INFO",
        "logger": "request",
        "method": "GET",
        "path": "/login",
        "status": 200,
        "milliseconds": entry["milliseconds"],
        "address": "192.0.2.9",
        "request_id": request_id,
    }
    assert TIME.fullmatch(str(entry["time"]))
    assert 0 < float(str(entry["milliseconds"])) < 20_000


async def test_simultaneous_requests_are_a_line_each(
    site: Site, logs: Callable[[], list[str]]
) -> None:
    """Lines that are written together are neither mixed nor lost."""
    browsers = [site.browser() for _ in range(10)]
    await asyncio.gather(*(browser.get(f"/{n}") for n, browser in enumerate(browsers)))
    assert sorted(str(entry["path"]) for entry in requests_in(logs())) == [
        f"/{n}" for n in range(10)
    ]


async def test_the_level_applies_to_requests(
    open_site: Callable[..., Site], logs: Callable[[], list[str]]
) -> None:
    """At level WARNING, successful requests are not logged."""
    site = open_site(log_level="WARNING")
    browser = site.browser()
    await browser.get("/")
    site.app.connections.draining = True
    await browser.get("/readyz")
    assert [entry["path"] for entry in requests_in(logs())] == ["/readyz"]


async def test_debug_mode_logs_readable_lines(
    open_site: Callable[..., Site], logs: Callable[[], list[str]]
) -> None:
    """In debug mode a request is a short line of text."""
    await open_site(debug=True, autoreload=False).browser().get("/login")
    assert any(re.fullmatch(r"GET /login 200 \d+\.\d+ ms", line) for line in logs())


async def test_probes_are_logged_only_when_they_fail(
    site: Site, logs: Callable[[], list[str]]
) -> None:
    """Probes come every few seconds, so only bad answers are logged."""
    browser = site.browser()
    for path in ("/healthz", "/readyz", "/metrics"):
        await browser.get(path)
    assert requests_in(logs()) == []
    site.app.connections.draining = True
    await browser.get("/readyz")
    (entry,) = requests_in(logs())
    assert (entry["path"], entry["status"], entry["level"]) == ("/readyz", 503, "WARNING")


async def test_a_slow_request_is_a_warning(
    open_site: Callable[..., Site], logs: Callable[[], list[str]]
) -> None:
    """It is found by its level, and logged even where others are not."""
    await open_site(log_level="WARNING").browser().get("/login")
    await open_site(log_level="WARNING", slow_request_seconds=1e-6).browser().get("/api/me")
    (entry,) = requests_in(logs())
    assert (entry["path"], entry["level"]) == ("/api/me", "WARNING")


async def test_the_logs_contain_no_secrets(site: Site, logs: Callable[[], list[str]]) -> None:
    """However a request ends, no cookie, password, hash or query string is logged."""
    site.app.add_handlers(".*", [("/fails", Fails)])
    browser = site.browser()
    await browser.sign_in()
#% if cookiecutter.sign_in == "passwords"
    secrets = [*browser.cookies.values(), PASSWORD, BETTER, SECRET[2:], "$argon2", QUERY]
    await browser.sign_in("ada", f"{PASSWORD} is wrong")
    form = {"current_password": PASSWORD, "new_password": BETTER}
    assert (await browser.post(f"/account?{QUERY}", form)).code == 200
#% else
    callback = await browser.callback()
    secrets = [*browser.cookies.values(), SECRET[2:], CLIENT_SECRET, callback, QUERY]
#% endif
    async with site.app.settings["database"].transaction() as transaction:
        # The update fails in the middle of the next change.
        await transaction.execute(
<% if cookiecutter.database == "sqlite" %>
            text(
                "CREATE TRIGGER refuse BEFORE UPDATE ON users"
                " BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
<% else %>
            text("ALTER TABLE users ADD CONSTRAINT refuse CHECK (name = 'refused') NOT VALID")
<% endif %>
        )
#% if cookiecutter.sign_in == "passwords"
    form = {"current_password": BETTER, "new_password": PASSWORD}
    assert (await browser.post(f"/account?{QUERY}", form)).code == 500
#% else
    assert (await browser.get(callback)).code == 500
#% endif
    for method, path in (("GET", "/fails"), ("POST", "/fails"), ("GET", "/nothing")):
        await browser.request(method, f"{path}?{QUERY}")
    secrets += browser.cookies.values()
    browser.cookies[browser.session_cookie] = "made-up|1|2"
    await browser.get("/account")
    secrets += browser.cookies.values()

    lines = logs()
    assert any("on purpose" in line for line in lines), "nothing was logged at all"
    assert [line for line in lines for secret in secrets if secret in line] == []


async def test_debug_logs_contain_no_secrets(start: Start) -> None:
    """LOG_LEVEL=DEBUG may be verbose, but its output can be shown to others."""
    process = await start(LOG_LEVEL="DEBUG")
    await process.answers()
    browser = process.browser
    await browser.sign_in()
#% if cookiecutter.sign_in == "passwords"
    form = {"current_password": PASSWORD, "new_password": BETTER}
    assert (await browser.post(f"/account?{QUERY}", form)).code == 200
    secrets = [*browser.cookies.values(), PASSWORD, BETTER, SECRET[2:], "$argon2", QUERY]
#% else
    callback = await browser.callback()
    assert (await browser.get(callback)).code == 303
    secrets = [*browser.cookies.values(), SECRET[2:], CLIENT_SECRET, callback, QUERY]
#% endif
    process.send(signal.SIGTERM)
    await process.end()
    assert [line for line in process.output for secret in secrets if secret in line] == []


def test_a_traceback_is_one_line() -> None:
    """A traceback stays in its line, whatever it contains, so that no line is misread."""
    try:
        raise ValueError('two\nlines and "quotes"')
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "m %s", ("\n",), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "two\nlines" in json.loads(line)["exception"]


def test_anything_can_be_logged() -> None:
    """Fields that JSON does not know are written as text."""
    record = logging.LogRecord("x", logging.INFO, "f", 1, "\u00e9", (), None)
    record.fields = {"odd": {1, 2}, "bytes": b"\xff"}
    entry = json.loads(JsonFormatter().format(record))
    assert entry["message"] == "\u00e9"
    assert entry["odd"] == "{1, 2}"


@pytest.mark.parametrize(("readable", "expected"), [(False, '{"time": "'), (True, "[I ")])
def test_logs_go_to_standard_output(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    expected: str,
    *,
    readable: bool,
) -> None:
    """The process manager collects standard output: JSON, or readable lines in debug mode."""
    root = logging.getLogger()
    level = root.level
    monkeypatch.setattr(root, "handlers", [])
    configure_logs("INFO", readable=readable)
    logging.info("here")
    logging.debug("hidden")
    root.setLevel(level)
    written = capsys.readouterr()
    assert written.err == ""
    assert written.out.startswith(expected)
    assert written.out.count("\n") == 1
    assert "here" in written.out
