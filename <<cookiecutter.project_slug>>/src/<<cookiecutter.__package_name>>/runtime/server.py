"""The life of one process: open, listen, serve, drain, close."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
import weakref
from typing import Any

import uvloop
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.process import fork_processes

from ..app import Service, make_app
from ..database import Database
from ..settings import Settings
from .listener import ServerError, bind, turn_newcomers_away
<% if cookiecutter.process_manager == "systemd" %>
from .notify import keep_watchdog_quiet, notify
<% endif %>

log = logging.getLogger(__name__)

MAX_BODY_BYTES = << cookiecutter.__max_body_megabytes >> * 1024 * 1024
MAX_HEADER_BYTES = 32 * 1024
# The balancer closes a connection to us that was idle for << cookiecutter.__upstream_idle_seconds >> s. We never do it first: it might be
# sending a request at that very moment.
BALANCER_IDLE_SECONDS = << cookiecutter.__upstream_idle_seconds >> + 0.5
# Whoever comes past the balancer is not waited for for ever.
CLIENT_IDLE_SECONDS = 75
# A handshake that has begun is over by then, unless a packet was lost.
HANDSHAKE_SECONDS = 0.3
BODY_SECONDS = 60


class Server(HTTPServer):
    """Tornado's HTTP server, knowing which of its connections are open, and which are silent."""

    def initialize(self, app: Service, **options: Any) -> None:  # type: ignore[override]
        super().initialize(app, **options)
        # `close_silent` stands in for the timer that Tornado sets, and takes back, for each request:
        # that takes a fifteenth of a small answer's time.
        self.conn_params.header_timeout = None
        self._silent_since = app.silent_since
        self._streams: weakref.WeakSet[IOStream] = weakref.WeakSet()

    def handle_stream(self, stream: IOStream, address: tuple) -> None:  # type: ignore[type-arg]
        self._streams.add(stream)
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        self._silent_since.pop(server_conn, None)
        super().on_close(server_conn)

    async def close_silent(self) -> None:
        """Close connections over which no request has come for too long, for ever."""
        while True:
            await asyncio.sleep(1)
            latest = time.monotonic() - CLIENT_IDLE_SECONDS
            for connection, since in list(self._silent_since.items()):
                if since > latest:
                    break  # all that follow came later
                connection.stream.close()

    def connected(self) -> bool:
        """Tell whether any connection is open."""
        return not all(stream.closed() for stream in self._streams)


def serve(settings: Settings, *, reuse_port: bool = False, processes: int | None = None) -> None:
    """Run the service until it is told to stop: as one process, or as several that share a port.

    With `processes` a parent opens the port and forks that many children, 0 meaning one for each
    processor. Raises ServerError if the port cannot be had or the system cannot do what was asked.
    """
    if processes is None:
        sockets = bind(settings, reuse_port=reuse_port)
        uvloop.run(main(settings, sockets, shared=reuse_port))
        return
    if settings.debug_flags["autoreload"]:
        raise ServerError(
            "--fork does not go with debug mode: autoreload would restart each child by itself."
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
        # It is closed already: this child was started for one that died when all were to stop.
        return
    uvloop.run(main(settings, sockets, lifeline, shared=True))


async def main(
    settings: Settings,
    sockets: list[socket.socket],
    lifeline: int | None = None,
    *,
    shared: bool = False,
) -> None:
    """Serve on bound sockets until SIGTERM, SIGINT or the end of the lifeline; then drain.

    `shared` tells that other processes listen on the same port.
    """
    async with contextlib.AsyncExitStack() as undo:
        database = Database(settings.database_url<< ', settings.database_connections' if cookiecutter.database == 'postgresql' >>)
        undo.push_async_callback(database.close)

        app = make_app(settings, database)
        undo.callback(app.accounts.close)

        server = Server(
            app,
            max_body_size=MAX_BODY_BYTES,
            max_buffer_size=MAX_BODY_BYTES + MAX_HEADER_BYTES,
            max_header_size=MAX_HEADER_BYTES,
            body_timeout=BODY_SECONDS,
        )

        chores = [app.metrics.measure_lag(), app.live.run(), server.close_silent()]
<% if cookiecutter.process_manager == "systemd" %>
        chores.append(keep_watchdog_quiet())
<% endif %>
        for chore in chores:
            undo.callback(asyncio.create_task(chore).cancel)

        stop = stop_event(lifeline)
        spare_garbage_collector()
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


def spare_garbage_collector() -> None:
    """Have it look at what requests leave behind only, and less often.

    Otherwise it walks over all modules again and again, for a tenth of a small answer's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


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
    settings: Settings,
    *,
    shared: bool = False,
) -> None:
    """Leave without a client noticing, in `drain_seconds` at most.

    Say not ready, have newcomers refused, close each connection behind its next answer, send the
    WebSockets elsewhere, wait until all is answered.
    """
    log.info("Draining")
    app.draining = True
    await asyncio.sleep(settings.unready_seconds)
    turn_newcomers_away(server, sockets, shared=shared)
    server.conn_params.no_keep_alive = True
    app.live.close()

    loop = asyncio.get_running_loop()
    begin = loop.time()
    end = begin + settings.drain_seconds
    idle_end = min(end, begin + BALANCER_IDLE_SECONDS)
    settled = min(end, begin + HANDSHAKE_SECONDS)
    while loop.time() < settled or (
        server.connected() and loop.time() < (end if app.in_flight else idle_end)
    ):
        await asyncio.sleep(0.01)
    if app.in_flight:
        log.warning("%d requests were cut off: DRAIN_SECONDS is over", app.in_flight)
    server.stop()
    await server.close_all_connections()
