"""The life of a process: its start, signals, and the effects on clients."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tornado.httpclient import HTTPResponse
from tornado.simple_httpclient import HTTPStreamClosedError

from << cookiecutter.__package_name >>.app import open_app
#% if cookiecutter.sign_in == "passwords"
from << cookiecutter.__package_name >>.database import Database
#% endif
from << cookiecutter.__package_name >>.handlers.base import PageHandler
from << cookiecutter.__package_name >>.runtime import server
from << cookiecutter.__package_name >>.runtime.listener import ServerError
from << cookiecutter.__package_name >>.runtime.websockets import SERVICE_RESTART
from << cookiecutter.__package_name >>.settings import load_settings

from ..browser import << "PASSWORD, " if cookiecutter.sign_in == "passwords" >>close_code, next_message
#% if cookiecutter.sign_in == "sso"
from ..provider import Provider
#% endif
from ..running import Process, Site
from ..waiting import until

Start = Callable[..., Awaitable[Process]]
Drain = Callable[..., asyncio.Task[None]]
#% if cookiecutter.sign_in == "passwords"
CREDENTIALS = {"name": "ada", "password": PASSWORD}
#% endif
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def in_flight(process: Process) -> asyncio.Task[HTTPResponse]:
    """Send a login that has to wait; return when the process has started on it."""
<% if cookiecutter.sign_in == "passwords" %>
    await process.browser.get("/login")
    login = asyncio.create_task(process.browser.post("/login", CREDENTIALS))
<% else %>
    login = asyncio.create_task(process.browser.get(await process.browser.callback()))
<% endif %>

    async def busy() -> bool:
        metrics = await process.browser.get("/metrics")
        return b"http_requests_in_flight 2.0" in metrics.body

    await until(busy, "the login to be in flight")
    return login


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Send a request over an open connection; return the head of the answer in lower case."""
    writer.write(GET)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    await reader.readuntil(b"}")
    return head.decode().lower()


# --- Starting ---


async def test_a_taken_port_is_one_line_and_an_exit_code(start: Start) -> None:
    """The process manager sees a failure, and the operator only the reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = await start(PORT=str(taken.getsockname()[1]))
        assert await process.end() == 1
    (line,) = process.output
    assert "another program listens there" in line


@pytest.mark.parametrize("flag", ["debug", "autoreload"])
def test_debug_mode_refuses_fork(folder: Path, flag: str) -> None:
    """Autoreload in forked children is refused, with the reason, before a port is opened."""
    with pytest.raises(ServerError, match="--fork does not work in debug mode"):
        server.serve(load_settings(**{flag: True}), open_app, processes=2)


def test_a_system_that_cannot_fork_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fork the error suggests several processes, each with its own port."""
    monkeypatch.delattr("os.fork")
    with pytest.raises(ServerError, match=r"cannot fork.*--port"):
        server.serve(load_settings(), open_app, processes=2)


async def test_requests_have_limits(start: Start) -> None:
    """A head or body that is too large is refused unread, and the process continues to serve."""
    process = await start()
    await process.answers()

    async def answer(*lines: str) -> bytes:
        reader, writer = await connect(process.port)
        writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            return await asyncio.wait_for(reader.read(), 20)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    large = f"Content-Length: {server.MAX_BODY_BYTES + 1}"
    assert (await answer("POST /login HTTP/1.1", "Host: x", large)).startswith(b"HTTP/1.1 400 ")
    # Tornado closes the connection without an answer; the balancer answers 400 before it gets here.
    assert await answer("GET / HTTP/1.1", "Host: x", "X: " + "x" * server.MAX_HEADER_BYTES) == b""
    assert (await process.browser.get("/healthz")).code == 200


# --- Stopping ---


#% if cookiecutter.sign_in == "passwords"
async def test_sigterm_finishes_requests_in_flight(database: Database, start: Start) -> None:
#% else
async def test_sigterm_finishes_requests_in_flight(provider: Provider, start: Start) -> None:
#% endif
    """A request in flight is answered, an idle connection once more; then the process ends."""
    process = await start()
    await process.answers()
    idle = await connect(process.port)
    assert "connection: close" not in await ask(*idle)
#% if cookiecutter.sign_in == "passwords"
    async with database.lock("attempts"):
#% else
    with provider.waiting():
#% endif
        login = await in_flight(process)
        process.send(signal.SIGTERM)
        await process.says("Draining")
        await process.refuses()
        assert "connection: close" in await ask(*idle)
        assert not login.done()
    assert (await login).code == 303
    assert await process.end() == 0
    idle[1].close()


async def test_a_second_signal_ends_at_once(folder: Path, start: Start) -> None:
    """A second signal of the same kind ends the process without the drain."""
    process = await start(UNREADY_SECONDS="600")
    await process.answers()
    process.send(signal.SIGTERM)
    await process.answers("/readyz", 503)
    assert json.loads((await process.browser.get("/readyz")).body)["status"] == "draining"
    process.send(signal.SIGTERM)
    assert await process.end() == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a way to lose none")
async def test_queued_connections_survive_sigterm(start: Start) -> None:
    """SIGTERM loses no connection that the kernel holds for the process."""
    process = await start()
    await process.answers()
    process.send(signal.SIGSTOP)
    # More than the process accepts between the signal and the drain: 128 per loop iteration.
    waiting = [await connect(process.port) for _ in range(600)]
    for _, writer in waiting:
        writer.write(GET)
    process.send(signal.SIGTERM)
    process.send(signal.SIGCONT)
    answers = [await reader.readline() for reader, _ in waiting]
    assert set(answers) == {b"HTTP/1.1 200 OK\r\n"}
    for _, writer in waiting:
        writer.close()
    assert await process.end() == 0


# --- Several processes ---


async def test_forked_processes_share_the_port_and_stop_together(start: Start) -> None:
    """A dead child is replaced; SIGTERM to the parent drains all, and it ends after the last."""
    process = await start("--fork", "2")
    await process.says("Serving", times=2)
    await process.browser.sign_in()
    async with process.browser.websocket() as socket:
        one_of_them = json.loads(await next_message(socket) or "")["pid"]
        os.kill(one_of_them, signal.SIGKILL)
    await process.says("Serving", times=3)
    await process.answers()
    process.send(signal.SIGTERM)
    assert await process.end() == 0
    assert sum("Stopped" in line for line in process.output) == 2


async def test_forked_processes_do_not_outlive_their_parent(start: Start) -> None:
    """When the parent is killed, the children drain and end, too, and free the port."""
    process = await start("--fork", "2")
    await process.says("Serving", times=2)
    process.send(signal.SIGKILL)
    assert await process.end() == -signal.SIGKILL
    assert sum("Stopped" in line for line in process.output) == 2


async def test_ctrl_c_twice_ends_forked_processes_at_once(folder: Path, start: Start) -> None:
    """A terminal sends Ctrl-C to parent and children; the second time all end at once."""
    process = await start("--fork", "2", UNREADY_SECONDS="600")
    await process.says("Serving", times=2)
    process.send_to_all(signal.SIGINT)
    await process.says("Draining", times=2)
    process.send_to_all(signal.SIGINT)
    await process.end()


async def test_copies_share_a_port(start: Start) -> None:
    """With --reuse-port a second copy uses the same port; both serve until one is stopped."""
    one = await start("--reuse-port")
    await one.answers()
    two = await start("--reuse-port", PORT=str(one.port))
    await two.says("Serving")

    async def both_serve() -> bool:
        await one.browser.get("/")
        return all(any('"path": "/",' in line for line in copy.output) for copy in (one, two))

    await until(both_serve, "both copies to be asked")
    one.send(signal.SIGTERM)
    assert await one.end() == 0
    await two.answers()


# --- Draining, in this process ---


@pytest.fixture
async def drain(site: Site) -> AsyncIterator[Callable[..., asyncio.Task[None]]]:
    """drain(drain_seconds=..., ...): drains the site with these settings."""
    tasks: list[asyncio.Task[None]] = []

    def drain(**overrides: float) -> asyncio.Task[None]:
        settings = load_settings(**overrides)
        draining = server.drain(site.server, site.sockets, site.app, settings)
        tasks.append(asyncio.create_task(draining))
        return tasks[-1]

    yield drain
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def slow(site: Site) -> AsyncIterator[asyncio.Event]:
    """An event; /slow is answered when it is set."""
    finish = asyncio.Event()

    class Slow(PageHandler):
        async def get(self) -> None:
            await finish.wait()

    site.app.add_handlers(".*", [("/slow", Slow)])
    yield finish
    finish.set()


async def test_unready_comes_before_the_drain(site: Site, drain: Drain) -> None:
    """For UNREADY_SECONDS everything is served, but /readyz answers not ready."""
    browser = site.browser()
    drain(unready_seconds=600)
    await until(lambda: site.app.connections.draining, "the drain to begin")
    assert (await browser.get("/readyz")).code == 503
    assert (await browser.get("/")).code == 200


async def test_an_idle_process_drains_at_once(site: Site, drain: Drain) -> None:
    """Without open connections a drain waits for handshakes in progress, not DRAIN_SECONDS."""
    await site.browser().get("/")
    begin = time.monotonic()
    await drain(drain_seconds=600)
    assert server.HANDSHAKE_SECONDS <= time.monotonic() - begin < server.BALANCER_IDLE_SECONDS


async def test_idle_connections_are_left_for_the_balancer_to_close(
    site: Site, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain waits for idle connections only until the balancer closes them."""
    monkeypatch.setattr(server, "BALANCER_IDLE_SECONDS", 0.2)
    reader, writer = await connect(site.settings.port)
    await ask(reader, writer)
    begin = time.monotonic()
    await drain(drain_seconds=600)
    assert time.monotonic() - begin >= 0.2
    assert await reader.read() == b"", "the connection is closed"
    writer.close()


async def test_silent_connections_are_closed(
    open_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that sends nothing, stops in the middle, or sends no more is disconnected."""
    monkeypatch.setattr(server, "CLIENT_IDLE_SECONDS", 0.2)
    site = open_site()
    connections = [await connect(site.settings.port) for _ in range(3)]
    connections[0][1].write(GET[:-2])
    await ask(*connections[1])
    for reader, writer in connections:
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()


async def test_a_drain_ends_after_drain_seconds(
    site: Site, slow: asyncio.Event, drain: Drain, logs: Callable[[], list[str]]
) -> None:
    """A request that takes longer than DRAIN_SECONDS is cut off, and the log says so."""
    request = asyncio.create_task(site.browser().get("/slow"))
    await until(lambda: site.app.connections.in_flight == 1, "the request to be in flight")
    await drain(drain_seconds=0.1)
    assert any("1 requests were cut off: DRAIN_SECONDS is over" in line for line in logs())
    with pytest.raises(HTTPStreamClosedError):
        await request


async def test_a_drain_closes_the_panels(site: Site, drain: Drain) -> None:
    """A drain closes an open WebSocket with the code that makes the browser reconnect."""
    browser = site.browser()
    await browser.sign_in()
    async with browser.websocket() as socket:
        await until(lambda: len(site.app.settings["live"]) == 1, "the socket to join")
        draining = drain(drain_seconds=600)
        assert await close_code(socket) == SERVICE_RESTART
        await draining
