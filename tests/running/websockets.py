"""A crowd of browsers with the home page open: each holds a WebSocket, as static/live.js does.

    with Crowd(stack.url, cookies, 1000) as crowd:
        roll(stack)
        stack.wait_until(lambda: crowd.connected == 1000, "all are back")
    assert crowd.endings.keys() == {1012}

Its own client, because ten thousand of Tornado's would be the heaviest part of a test.
"""

import asyncio
import base64
import json
import os
import random
import struct
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from tests.running.load import Background

SERVICE_RESTART = 1012
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
# Browsers connect one by one: ten thousand simultaneous connections would test the kernel.
AT_A_TIME = 100
TIMEOUT = 20


class Crowd(Background):
    """Browsers that connect, listen, and come back when they are sent away."""

    def __init__(self, url: str, cookies: str, count: int, *, address: str = "127.0.0.1") -> None:
        parts = urlsplit(url)
        self._address, self._port = address, parts.port or 80
        self._handshake = "\r\n".join(
            [
                "GET /live HTTP/1.1",
                f"Host: {parts.netloc}",
                f"Origin: {url}",
                f"Cookie: {cookies}",
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Version: 13",
                f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
                "",
                "",
            ]
        ).encode()
        self._browsers = [Browser() for _ in range(count)]
        # How connections ended, by their close codes or else in words, and how long the browsers
        # were without one.
        self.endings: Counter[int | str] = Counter()
        self.absences: list[float] = []

    @property
    def connected(self) -> int:
        """How many browsers hear from a process."""
        return sum(browser.process is not None for browser in self._browsers)

    @property
    def processes(self) -> Counter[tuple[int, int]]:
        """The port and the process id that each browser heard of last, and how many did."""
        return Counter(browser.process for browser in self._browsers if browser.process)

    @property
    def messages(self) -> int:
        """How many messages all have received."""
        return sum(browser.messages for browser in self._browsers)

    async def run(self, stop: asyncio.Event) -> None:
        turn = asyncio.Semaphore(AT_A_TIME)
        tasks = [asyncio.create_task(self._live(browser, turn)) for browser in self._browsers]
        await stop.wait()
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(result, asyncio.CancelledError):
                raise result

    async def _live(self, browser: "Browser", turn: asyncio.Semaphore) -> None:
        """What live.js does, for as long as the page is open."""
        failures = 0
        left: float | None = None
        while True:
            transport = None
            try:
                async with turn, asyncio.timeout(TIMEOUT):
                    transport, _ = await asyncio.get_running_loop().create_connection(
                        lambda: browser, self._address, self._port
                    )
                    transport.write(self._handshake)
                    await browser.heard
                if browser.process:
                    failures = 0
                    if left is not None:
                        self.absences.append(time.monotonic() - left)
                ending = await browser.ended
            except OSError as error:  # a TimeoutError too
                ending = repr(error)
            finally:
                if transport:
                    transport.abort()
            left = left if failures else time.monotonic()
            self.endings[ending] += 1
            longest = min(2**failures, 15)
            if ending == SERVICE_RESTART:
                longest = max(longest, 2)
            failures += 1
            await asyncio.sleep(random.random() * longest)  # noqa: S311


class Browser(asyncio.Protocol):
    """One end of a WebSocket: understands what the service sends, and answers what it must."""

    def __init__(self) -> None:
        self.process: tuple[int, int] | None = None
        self.messages = 0

    def connection_made(self, transport: Any) -> None:
        loop = asyncio.get_running_loop()
        self.heard: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[int | str] = loop.create_future()
        self._transport = transport
        self._received = b""
        self._upgraded = False

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"lost: {error}")

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._upgraded:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._end(head.partition(b"\r\n")[0].decode())
                return
            self._upgraded, self._received = True, rest
        while frame := self._next_frame():
            self._on_frame(*frame)

    def _next_frame(self) -> tuple[int, bytes] | None:
        """The type and the content of the next frame, if all of it is there. None is masked."""
        if len(self._received) < 2:
            return None
        begin, length = 2, self._received[1]
        if length == 126:
            begin, length = 4, int.from_bytes(self._received[2:4])
        frame = self._received[begin : begin + length]
        if len(self._received) < begin + length:
            return None
        kind = self._received[0] & 0x0F
        self._received = self._received[begin + length :]
        return kind, frame

    def _on_frame(self, kind: int, content: bytes) -> None:
        if kind == TEXT:
            tick = json.loads(content)
            self.process = tick["port"], tick["pid"]
            self.messages += 1
            if not self.heard.done():
                self.heard.set_result(None)
        elif kind == PING:
            self._send(PONG, content)
        elif kind == CLOSE:
            self._send(CLOSE, content[:2])
            self._end(struct.unpack("!H", content[:2])[0])

    def _send(self, kind: int, content: bytes) -> None:
        # A client must mask what it sends; with a mask of zeros nothing changes.
        self._transport.write(bytes([0x80 | kind, 0x80 | len(content)]) + bytes(4) + content)

    def _end(self, how: int | str) -> None:
        self.process = None
        if not self.ended.done():
            self.ended.set_result(how)
        if not self.heard.done():
            self.heard.set_result(None)
