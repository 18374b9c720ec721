# Part of the template: you need not edit this file.
"""The port: opening it, and closing it without losing a connection."""

import contextlib
import errno
import socket
import sys

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

from .settings import ProcessSettings

BACKLOG = 1024
# From <asm-generic/socket.h>; Python has no name for it.
SO_BINDTOIFINDEX = 62
NO_INTERFACE = 2**31 - 1


class ServerError(Exception):
    """The server cannot start; the message says why and what to do."""


def bind(settings: ProcessSettings, *, reuse_port: bool = False) -> list[socket.socket]:
    """Bind the port, on all addresses of the host. Raises ServerError if that fails."""
    try:
        return bind_sockets(settings.port, settings.host, backlog=BACKLOG, reuse_port=reuse_port)
    except OSError as error:
        where = f"port {settings.port} on {settings.host}"
        if error.errno == errno.EADDRINUSE:
            reason = "another program listens there. End it, or use another port (--port, PORT)."
        elif error.errno == errno.EACCES:
            reason = "this port needs more rights. Use a port from 1024 upwards (--port, PORT)."
        else:
            reason = f"{error.strerror or error}. Check --host and --port (HOST, PORT)."
        raise ServerError(f"Cannot listen on {where}: {reason}") from error
    except ValueError as error:
        raise ServerError(
            "This system cannot share a port between processes (SO_REUSEPORT)."
            " Give each process a port of its own instead (--port)."
        ) from error


def refuse_new_connections(
    server: HTTPServer, sockets: list[socket.socket], *, shared: bool
) -> None:
    """Refuse new connections at once; established connections and open handshakes are served.

    Closing a listening socket resets the connections in its queue and all open handshakes. Instead,
    the sockets are bound to a network interface that does not exist: the kernel then refuses new
    connections and completes the open handshakes. The server accepts those until it is stopped.

    This does not work for a `shared` port, which other processes use, too, nor on Linux before 5.7.
    There the queue is served, and a connection that arrives just before the close is lost.
    """
    if not shared and sys.platform == "linux":
        with contextlib.suppress(OSError):
            for listening in sockets:
                listening.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE)
            return
    for listening in sockets:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, address = listening.accept()
                connection.setblocking(False)
                server.handle_stream(IOStream(connection), address)
    server.stop()
