"""The port: errors when it is bound, and connections when it is closed."""

import asyncio
import errno
import socket
import sys
from pathlib import Path

import pytest

from << cookiecutter.__package_name >>.runtime import listener
from << cookiecutter.__package_name >>.runtime.listener import ServerError, bind
from << cookiecutter.__package_name >>.settings import load_settings

from ..running import Site, free_port

only_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere what comes in the last moment is lost"
)
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_a_system_that_cannot_share_a_port_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error suggests several processes, each with its own port."""
    monkeypatch.delattr("socket.SO_REUSEPORT")
    with pytest.raises(ServerError, match=r"cannot share a port.*--port"):
        bind(load_settings(port=free_port()), reuse_port=True)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EADDRINUSE, ""), "another program listens there. .* use another port"),
        (OSError(errno.EACCES, ""), "this port needs more rights. Use a port from 1024 upwards"),
        (OSError(errno.EADDRNOTAVAIL, "Not here"), "Not here. Check --host and --port"),
        (socket.gaierror(socket.EAI_NONAME, "Unknown"), "Unknown. Check --host and --port"),
    ],
    ids=["taken", "privileged", "elsewhere", "unknown"],
)
def test_a_failed_bind_names_port_host_and_remedy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    """Whatever the reason, the message names port, host and what to change."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(listener, "bind_sockets", refuse)
    with pytest.raises(ServerError, match=rf"^Cannot listen on port 80 on h: {reason}"):
        bind(load_settings(host="h", port=80))


async def answer(connection: socket.socket) -> bytes:
    """Send a request over an open connection and return everything received."""
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(GET)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


@pytest.mark.parametrize("shared", [True, False])
async def test_queued_connections_are_served_and_new_ones_refused(
    site: Site, *, shared: bool
) -> None:
    """Connections made while the process was busy survive the end of the listener."""
    where = ("127.0.0.1", site.settings.port)
    # This loop blocks the event loop, so the server cannot accept the connections yet.
    waiting = [socket.create_connection(where) for _ in range(20)]
    listener.refuse_new_connections(site.server, site.sockets, shared=shared)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where)
    for connection in waiting:
        assert b"200 OK" in await answer(connection)


@only_linux
async def test_without_the_socket_option_queued_connections_are_served(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a kernel without the option the queue is served before the close."""
    monkeypatch.setattr(listener, "SO_BINDTOIFINDEX", 9999)
    await test_queued_connections_are_served_and_new_ones_refused(site, shared=False)


@only_linux
async def test_every_address_of_a_host_refuses_connections(site: Site) -> None:
    """`localhost` has two addresses, each with its own socket: both refuse connections."""
    settings = load_settings(host="localhost", port=free_port())
    sockets = bind(settings)
    site.server.add_sockets(sockets)
    addresses = [each.getsockname()[:2] for each in sockets]
    waiting = [socket.create_connection(address) for address in addresses]
    listener.refuse_new_connections(site.server, sockets, shared=False)
    for address in addresses:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
    for connection in waiting:
        assert b"200 OK" in await answer(connection)
