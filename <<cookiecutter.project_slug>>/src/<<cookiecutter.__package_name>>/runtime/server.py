# Part of the template: you need not edit this file.
"""The life of one process: open, listen, serve, drain, close."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from asyncio import run
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from tornado.httpserver import HTTPServer
from tornado.httputil import ParseBodyConfig, ParseMultipartConfig, set_parse_body_config
from tornado.iostream import IOStream
from tornado.process import fork_processes

from .application import Service
from .connections import Connections
from .listener import ServerError, bind, refuse_new_connections
<% if cookiecutter.process_manager == "systemd" %>
from .notify import keep_watchdog_quiet, notify
<% endif %>
from .settings import ProcessSettings

log = logging.getLogger(__name__)

MAX_BODY_BYTES = << cookiecutter.__max_body_megabytes >> * 1024 * 1024
MAX_HEADER_BYTES = << cookiecutter.__process_headers_kilobytes >> * 1024
# The balancer closes a connection to us that was idle for << cookiecutter.__upstream_idle_seconds >> s. We never do it first: it might be
# sending a request at that very moment.
BALANCER_IDLE_SECONDS = << cookiecutter.__upstream_idle_seconds >> + 0.5
# Idle timeout for clients that bypass the load balancer.
CLIENT_IDLE_SECONDS = 75
# A handshake takes less, unless a packet is lost.
HANDSHAKE_SECONDS = 0.3
BODY_SECONDS = 60


AnySettings = TypeVar("AnySettings", bound=ProcessSettings)
OpenApp = Callable[[AnySettings], AbstractAsyncContextManager[Service]]


class Server(HTTPServer):
    """Tornado's HTTP server, which notes each connection that it accepts."""

    _note: Connections

    @classmethod
    def of(cls, app: Service, *, behind_proxy: bool) -> "Server":
        """Return the server of an application, with all limits."""
        server = cls(
            app,
            xheaders=behind_proxy,
            idle_connection_timeout=CLIENT_IDLE_SECONDS,
            max_body_size=MAX_BODY_BYTES,
            max_buffer_size=MAX_BODY_BYTES + MAX_HEADER_BYTES,
            max_header_size=MAX_HEADER_BYTES,
            body_timeout=BODY_SECONDS,
        )
        server._note = app.connections
        return server

    def handle_stream(self, stream: IOStream, address: tuple) -> None:  # type: ignore[type-arg]
        self._note.opened(stream)
        super().handle_stream(stream, address)


def serve(
    settings: AnySettings,
    open_app: OpenApp[AnySettings],
    *,
    reuse_port: bool = False,
    processes: int | None = None,
) -> None:
    """Run the service until a signal ends it: as one process, or as several that share a port.

    With `processes` a parent opens the port and forks that many children, 0 meaning one for each
    processor. Raises ServerError if the port cannot be bound or the system lacks a feature.
    """
    if processes is None:
        sockets = bind(settings, reuse_port=reuse_port)
        run(main(settings, open_app, sockets, shared=reuse_port))
        return
    if settings.debug_flags["autoreload"]:
        raise ServerError(
            "--fork does not work in debug mode: autoreload would restart each child by itself."
            " Leave one of the two out."
        )
    if not hasattr(os, "fork"):
        raise ServerError(
            "This system cannot fork. Start several processes, each with its own --port, instead."
        )
    sockets = bind(settings, reuse_port=reuse_port)
    # The children hold the reading end; when the parent stops, or dies, they see it close.
    lifeline, parent_end = os.pipe()

    def let_go(*_: object) -> None:
        # The next signal ends the parent at once.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.close(parent_end)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, let_go)
    fork_processes(processes)
    try:
        os.close(parent_end)
    except OSError:
        # Already closed: this child replaces one that died while all were stopping.
        return
    run(main(settings, open_app, sockets, lifeline, shared=True))


async def main(
    settings: AnySettings,
    open_app: OpenApp[AnySettings],
    sockets: list[socket.socket],
    lifeline: int | None = None,
    *,
    shared: bool = False,
) -> None:
    """Serve on bound sockets until SIGTERM, SIGINT or the end of the lifeline; then drain.

    With `shared`, other processes listen on the same port.
    """
    refuse_multipart()
    async with contextlib.AsyncExitStack() as undo:
        app = await undo.enter_async_context(open_app(settings))
        watch(app, settings, undo)
        server = Server.of(app, behind_proxy=settings.behind_proxy)

        background = [task() for task in app.background]
<% if cookiecutter.process_manager == "systemd" %>
        background.append(keep_watchdog_quiet())
<% endif %>
        for task in background:
            undo.callback(asyncio.ensure_future(task).cancel)

        stop = stop_event(lifeline)
        server.add_sockets(sockets)
        log.info("Serving %s on http://%s:%d", settings.release, settings.host, settings.port)
<% if cookiecutter.process_manager == "systemd" %>
        notify("READY=1")
<% endif %>

        await stop.wait()
<% if cookiecutter.process_manager == "systemd" %>
        notify("STOPPING=1")
<% endif %>
        await drain(server, sockets, app, settings, shared=shared)
    log.info("Stopped")


def watch(app: Service, settings: ProcessSettings, undo: contextlib.AsyncExitStack) -> None:
    """Send traces and errors where the settings say; what is not wanted is not even loaded."""
    if settings.otel_exporter_otlp_endpoint:
        from .tracing import Tracing

        app.tracing = Tracing(settings)
        undo.push_async_callback(app.tracing.close)
    if settings.sentry_dsn:
        from .error_reports import report_errors

        undo.callback(report_errors(settings))


def refuse_multipart() -> None:
    """Answer 400 to multipart bodies: no handler here takes one.

    Tornado parses them before it selects a handler, and some stall the event loop for half a
    second. docs/recipes.md shows how to accept uploads.
    """
    set_parse_body_config(ParseBodyConfig(multipart=ParseMultipartConfig(enabled=False)))


def stop_event(lifeline: int | None) -> asyncio.Event:
    """Return an event that is set by SIGTERM, SIGINT or the end of the lifeline.

    The same signal a second time ends the process at once.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    if lifeline is not None:

        def on_end() -> None:
            loop.remove_reader(lifeline)
            stop.set()

        loop.add_reader(lifeline, on_end)
    return stop


async def drain(
    server: Server,
    sockets: list[socket.socket],
    app: Service,
    settings: ProcessSettings,
    *,
    shared: bool = False,
) -> None:
    """Stop without losing a request, within `drain_seconds`.

    Report not ready, refuse new connections, answer with `Connection: close`, close the WebSockets
    so that they reconnect elsewhere, and wait for the requests in flight.
    """
    log.info("Draining")
    app.connections.draining = True
    await asyncio.sleep(settings.unready_seconds)
    refuse_new_connections(server, sockets, shared=shared)
    app.websockets.close()

    loop = asyncio.get_running_loop()
    begin = loop.time()
    end = begin + settings.drain_seconds
    idle_end = min(end, begin + BALANCER_IDLE_SECONDS)
    settled = min(end, begin + HANDSHAKE_SECONDS)
    while loop.time() < settled or (
        app.connections.any_open()
        and loop.time() < (end if app.connections.in_flight else idle_end)
    ):
        await asyncio.sleep(0.01)
    if app.connections.in_flight:
        log.warning("%d requests were cut off: DRAIN_SECONDS is over", app.connections.in_flight)
    server.stop()
    await server.close_all_connections()
