"""The running service: `Site` in the test's own process, `Process` in another one."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from dataclasses import dataclass

from tornado.httpclient import AsyncHTTPClient

from << cookiecutter.__package_name >>.runtime.application import Service
from << cookiecutter.__package_name >>.runtime.server import Server
from << cookiecutter.__package_name >>.settings import Settings

from .browser import Browser
from .waiting import until


@dataclass
class Site:
    """The service in the test's own process, open to the test's inspection."""

    settings: Settings
    app: Service
    server: Server
    sockets: list[socket.socket]
    url: str
    client: AsyncHTTPClient

    def browser(self, **headers: str) -> Browser:
        """Open another browser, without cookies; `X_Real_IP="..."` is sent as `X-Real-IP`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Browser(self.client, self.url, named)


class Process:
    """The service in a process of its own, with its output so far in `output`."""

    def __init__(
        self, process: asyncio.subprocess.Process, port: int, client: AsyncHTTPClient
    ) -> None:
        self.process = process
        self.port = port
        self.browser = Browser(client, f"http://127.0.0.1:{port}", {})
        self.output: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output.append(line.decode().rstrip("\n"))

    async def says(self, text: str, times: int = 1) -> None:
        """Wait until at least `times` lines of the output contain this text."""
        await until(
            lambda: sum(text in line for line in self.output) >= times,
            f"{text!r} ({times} times) in the output",
        )

    async def answers(self, path: str = "/readyz", code: int = 200) -> None:
        """Wait until the answer to a path has this status code."""

        async def asked() -> bool:
            try:
                return (await self.browser.get(path)).code == code
            except OSError:
                return False

        await until(asked, f"{code} from {path}")

    async def refuses(self) -> None:
        """Wait until the port refuses connections."""

        async def asked() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                return True
            writer.close()
            return False

        await until(asked, f"a refusal on port {self.port}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def send_to_all(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children, as a terminal does on Ctrl-C."""
        os.killpg(self.process.pid, number)

    async def end(self) -> int:
        """Wait until this process and all its children have ended; return its exit code."""
        # The output ends when the last process that could write to it has ended.
        await until(self._reading.done, "the end of the process and its children")
        return await self.process.wait()

    async def kill(self) -> None:
        if not self._reading.done():
            with contextlib.suppress(ProcessLookupError):
                self.send_to_all(signal.SIGKILL)
        await self._reading
        await self.process.wait()
        # Shown by pytest when the test has failed.
        print(*self.output, sep="\n")


def free_port() -> int:
    """Return a free port outside the range from which the system takes its own."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
