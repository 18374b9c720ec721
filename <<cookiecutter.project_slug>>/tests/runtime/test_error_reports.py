"""Error reports: what the service for errors gets, and what never leaves the process."""

import json
import signal
from collections.abc import Awaitable, Callable

import << cookiecutter.__package_name >> as service

from ..receiver import Receiver
from ..running import Process
from ..waiting import until

Start = Callable[..., Awaitable[Process]]

HIDDEN = "correct horse battery staple"
# A handler that fails, with a secret in a local variable.
FAILING = """
import {package}.app as app
from {package}.handlers.base import PageHandler

class Fails(PageHandler):
    def post(self):
        secret = self.get_argument("secret")
        raise RuntimeError("broken on purpose")

app.ROUTES.append((r"/fails", Fails))
from {package}.cli import run
run()
"""


async def test_an_error_is_reported_without_personal_data(start: Start, receiver: Receiver) -> None:
    """The report has the error, its stack and the request's id, and none of what was sent."""
    dsn = receiver.url.replace("://", "://key@") + "/1"
    process = await start(program=["-c", FAILING.format(package=service.__name__)], SENTRY_DSN=dsn)
    await process.answers()
    await process.browser.get("/login")
    answer = await process.browser.post("/fails", {"secret": HIDDEN})
    assert answer.code == 500
    await until(lambda: any(b"broken on purpose" in body for body in receiver.bodies), "a report")
    process.send(signal.SIGTERM)
    assert await process.end() == 0
    (report,) = (body for body in receiver.bodies if b"broken on purpose" in body)
    event = json.loads(report.splitlines()[2])
    assert event["exception"]["values"][-1]["type"] == "RuntimeError"
    assert event["extra"]["fields"]["request_id"] == answer.headers["X-Request-Id"]
    for hidden in (HIDDEN.encode(), b"-xsrf", b"-session"):
        assert hidden not in report


async def test_a_service_for_errors_that_is_away_delays_nothing(start: Start) -> None:
    """The answer comes, and the process ends, where nothing listens."""
    process = await start(
        program=["-c", FAILING.format(package=service.__name__)],
        SENTRY_DSN="http://key@127.0.0.1:1/1",
    )
    await process.answers()
    await process.browser.get("/login")
    assert (await process.browser.post("/fails", {"secret": HIDDEN})).code == 500
    process.send(signal.SIGTERM)
    assert await process.end() == 0
