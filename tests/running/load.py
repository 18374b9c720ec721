"""Load from outside: many connections that ask on and on, and every failure is kept.

    with nothing_lost(stack.url, usual_requests(session_at(stack))):
        roll(stack)

A failure is any answer but the expected one, a connection that is refused or breaks, and silence
for 10 s. Nothing is tried again: a browser would, and hide what is lost.
"""

import asyncio
import itertools
import os
import random
import secrets
import ssl
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from tests.running.processes import Program

SOAK = bool(os.environ.get("SOAK"))
TIMEOUT = 10
RATE = 500
# A failure is quickly had: without a pause, one that lasts for a second would count thousandfold.
PAUSE_AFTER_FAILURE = 0.1


def scaled(short: int, long: int) -> int:
    """How much of something a test does: little in every run, much in `make soak`."""
    return long if SOAK else short


class Request(NamedTuple):
    """What is asked, and the status that the answer must have."""

    method: str
    path: str
    status: int
    cookies: str = ""
    body: str = ""

    def encode(self, host: str, *, keep: bool) -> bytes:
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            f"Host: {host}",
            f"Connection: {'keep-alive' if keep else 'close'}",
        ]
        if self.cookies:
            lines.append(f"Cookie: {self.cookies}")
        if self.body:
            lines.append("Content-Type: application/x-www-form-urlencoded")
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", self.body]).encode()


def usual_requests(session: str) -> list[Request]:
    """A page, a form, and an answer from the database to whom this cookie has signed in.

    The form is the cheapest that the service has: signing out hashes no password, so the load is on
    the way there. Its token travels in the body as well: without its body it would be refused. That
    nobody is signed in by it makes no difference to the balancer, who may not send a POST twice.
    """
    token = secrets.token_hex(16)
    # A service's two cookies differ in a word.
    xsrf_cookie = session.partition("=")[0].replace("-session", "-xsrf")
    return [
        Request("GET", "/", 200),
        Request("POST", "/logout", 303, cookies=f"{xsrf_cookie}={token}", body=f"_xsrf={token}"),
        Request("GET", "/api/me", 200, cookies=session),
    ]


def session_at(program: Program) -> str:
    """Sign in and return the cookie."""
    name = program.project.session_cookie
    return f"{name}={program.sign_in(*program.add_user())[name]}"


class Failure(NamedTuple):
    """What went wrong, and how many seconds after the beginning."""

    second: float
    request: str
    what: str

    def __str__(self) -> str:
        return f"{self.second:.2f} s: {self.request}: {self.what}"


class Background:
    """Something asynchronous that goes on in a thread of its own for the length of a `with`."""

    def __enter__(self) -> Self:
        self._stop: asyncio.Event | None = None
        self._executor = ThreadPoolExecutor(1)
        self._done = self._executor.submit(asyncio.run, self._main())
        return self

    def __exit__(self, *_: object) -> None:
        while self._stop is None and not self._done.done():
            time.sleep(0.01)
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._executor.shutdown()
        self._done.result()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await self.run(self._stop)

    async def run(self, stop: asyncio.Event) -> None:
        """What goes on until `stop` is set."""
        raise NotImplementedError


class Phase:
    """A part of the time under load: how long what was answered in it took."""

    def __init__(self, seconds: "array[float]") -> None:
        self._all = seconds
        self._begin = len(seconds)
        self._end: int | None = None

    def end(self) -> None:
        self._end = len(self._all)

    @property
    def seconds(self) -> list[float]:
        """How long each request took, the fastest first."""
        return sorted(self._all[self._begin : self._end])

    @property
    def p99(self) -> float:
        """The time within which 99 of 100 were answered."""
        seconds = self.seconds
        return seconds[len(seconds) * 99 // 100]

    def __str__(self) -> str:
        seconds = self.seconds
        return (
            f"{len(seconds)} requests, half within {seconds[len(seconds) // 2] * 1000:.1f} ms,"
            f" 99% within {self.p99 * 1000:.1f} ms, the slowest took {seconds[-1] * 1000:.0f} ms"
        )


class Load(Background):
    """Asks for these in turn, over many connections at a time, so many times a second at most.

    Half of the connections are kept, as browsers do; the others are made anew for each request.
    """

    def __init__(
        self,
        url: str,
        requests: list[Request],
        *,
        connections: int = 64,
        rate: float = RATE,
        address: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        # A stack listens on one of the two addresses that localhost has.
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
        self._address = address or host
        self._port = parts.port or (443 if tls else 80)
        self._host = parts.netloc
        self._tls = {"ssl": tls, "server_hostname": parts.hostname} if tls else {}
        self._requests = requests
        self._connections = connections
        self._pause = connections / rate
        self._seconds = array("d")
        self._begin = time.monotonic()
        self.answered: Counter[str] = Counter()
        self.failures: list[Failure] = []

    @property
    def seconds(self) -> list[float]:
        """How long each request took that was answered as expected, the fastest first."""
        return sorted(self._seconds)

    @property
    def total(self) -> int:
        """How many requests were answered as expected."""
        return len(self._seconds)

    @contextmanager
    def phase(self) -> Iterator[Phase]:
        """Measure what is answered within this block."""
        phase = Phase(self._seconds)
        try:
            yield phase
        finally:
            phase.end()

    def phase_of(self, seconds: float) -> Phase:
        """Let it go on for some seconds, and measure."""
        with self.phase() as phase:
            time.sleep(seconds)
        return phase

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._connections):
                tasks.create_task(self._ask_on(stop, number))

    async def _ask_on(self, stop: asyncio.Event, number: int) -> None:
        keep = number % 2 == 0
        prepared = [
            (
                f"{request.method} {request.path}",
                request.status,
                request.encode(self._host, keep=keep),
            )
            for request in self._requests
        ]
        # Each begins with another one, so that all kinds are asked for at any time.
        turns = itertools.islice(itertools.cycle(prepared), number // 2, None)
        connection: Connection | None = None
        due = time.monotonic() + random.random() * self._pause  # noqa: S311
        for name, expected, content in turns:
            if stop.is_set():
                break
            await asyncio.sleep(due - time.monotonic())
            begin = time.monotonic()
            # What is late is not made up for: that would be more than so many times a second.
            due = max(due + self._pause, begin)
            if connection and not connection.open:
                connection = None
            how = "over a kept connection" if connection else "over a new connection"
            try:
                async with asyncio.timeout(TIMEOUT):
                    if connection is None:
                        _, connection = await asyncio.get_running_loop().create_connection(
                            Connection, self._address, self._port, **self._tls
                        )
                    status = await connection.ask(content)
                if status != expected:
                    raise ConnectionError(f"status {status}")
            except (OSError, ValueError) as error:
                what = f"{str(error) or type(error).__name__} {how}"
                self.failures.append(Failure(begin - self._begin, name, what))
                if connection:
                    connection.close()
                    connection = None
                await asyncio.sleep(PAUSE_AFTER_FAILURE)
                continue
            self._seconds.append(time.monotonic() - begin)
            self.answered[name] += 1
        if connection:
            connection.close()


@contextmanager
def nothing_lost(url: str, requests: list[Request], **options: Any) -> Iterator[Load]:
    """This load within a block, after which everything was asked and nothing has failed."""
    with Load(url, requests, **options) as load:
        yield load
    print(f"{load.total} requests, {len(load.failures)} failed")
    assert load.failures == []
    assert len(load.answered) == len(requests)


class Connection(asyncio.Protocol):
    """A connection over which one request at a time is asked."""

    def __init__(self) -> None:
        self.open = True
        self._answer: asyncio.Future[int] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def close(self) -> None:
        self.open = False
        self._transport.close()

    async def ask(self, content: bytes) -> int:
        """Send a request; return the status of its answer when all of it is there."""
        self._received = b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(content)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or self._answer is None or self._answer.done():
            return
        fields = head.lower()
        length = _number_after(b"\r\ncontent-length: ", fields)
        if length is None:
            self._answer.set_exception(ValueError(f"an answer without a length: {head!r}"))
        elif len(body) >= length:
            # Before the next request may use the connection.
            if b"\r\nconnection: close" in fields:
                self.close()
            self._answer.set_result(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("closed without an answer"))


def _number_after(name: bytes, fields: bytes) -> int | None:
    _, found, rest = fields.partition(name)
    return int(rest.partition(b"\r\n")[0]) if found else None
