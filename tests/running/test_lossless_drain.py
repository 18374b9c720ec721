"""The end of one process, asked directly: what has begun is finished."""

import http.client
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlencode

import pytest

from tests.running.processes import Service
from tests.running.projects import Project

pytestmark = pytest.mark.full

# Longer than a process waits for connections that are idle, shorter than the whole drain.
SECONDS = 4
TOKEN = "a" * 32
FORM = {
    "Cookie": f"my-service-xsrf={TOKEN}",
    "Content-Type": "application/x-www-form-urlencoded",
}
QUEUED = 50
LOGINS = 8


@pytest.fixture
def service(default_project: Project) -> Iterator[Service]:
    with Service(default_project, default_project.first_port) as service:
        yield service


@contextmanager
def locked_database(project: Project) -> Iterator[None]:
    """Block all writes to the database until the end of the block."""
    file = project.folder / "var" / f"{project.package_name}.sqlite3"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def connect(service: Service) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", service.project.first_port, timeout=30)


def drains(service: Service) -> None:
    """Tell it to stop and wait until it has begun to."""
    service.signal(signal.SIGTERM)
    service.wait_until(lambda: "Draining" in service.output, "it drains")


def test_logins_that_take_seconds(service: Service) -> None:
    """Logins that wait for the database, and then for each other's hashes, all succeed."""
    name, password = service.add_user()
    body = urlencode({"name": name, "password": password, "_xsrf": TOKEN})
    logins = [connect(service) for _ in range(LOGINS)]
    with locked_database(service.project):
        for login in logins:
            login.request("POST", "/login", body, FORM)
        drains(service)
        time.sleep(SECONDS)
    assert [login.getresponse().status for login in logins] == [303] * LOGINS
    assert service.wait() == 0


def test_a_request_that_arrives_slowly(service: Service) -> None:
    """A form that arrives piece by piece, one a second, is received and answered."""
    body = f"_xsrf={TOKEN}"
    slow = connect(service)
    slow.putrequest("POST", "/logout")
    for header, value in FORM.items():
        slow.putheader(header, value)
    slow.putheader("Content-Length", str(len(body)))
    slow.endheaders()
    drains(service)
    piece = len(body) // SECONDS + 1
    for begin in range(0, len(body), piece):
        time.sleep(1)
        slow.send(body[begin : begin + piece].encode())
    assert slow.getresponse().status == 303
    assert service.wait() == 0


def test_an_answer_that_is_read_slowly(service: Service) -> None:
    """An answer of megabytes reaches a client that waits seconds before reading it."""
    # The form comes back with the name in it, each quotation mark in six letters.
    quotes = 300_000
    slow = connect(service)
    slow.sock = socket.socket()
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sock.connect(("127.0.0.1", service.project.first_port))
    slow.request("POST", "/login", urlencode({"name": '"' * quotes, "_xsrf": TOKEN}), FORM)
    service.wait_until(service.requests, "it is answered")
    drains(service)
    time.sleep(SECONDS)
    slow.sock.settimeout(30)
    answer = slow.getresponse()
    assert answer.status == 422
    assert answer.read().count(b"&quot;") == quotes
    assert service.wait() == 0


def test_queued_connections(service: Service) -> None:
    """Connections in the kernel's queue are answered after the signal to stop."""
    service.signal(signal.SIGSTOP)
    queued = [connect(service) for _ in range(QUEUED)]
    for connection in queued:
        connection.request("POST", "/logout", f"_xsrf={TOKEN}", FORM)
    service.signal(signal.SIGTERM)
    service.signal(signal.SIGCONT)
    assert [connection.getresponse().status for connection in queued] == [303] * QUEUED
    assert service.wait() == 0


def test_a_second_signal(service: Service) -> None:
    """A second signal ends the process at once."""
    slow = connect(service)
    slow.putrequest("POST", "/logout")
    slow.putheader("Content-Length", "1")
    slow.endheaders()
    drains(service)
    time.sleep(1)
    assert service.running
    begin = time.monotonic()
    assert service.stop(signal.SIGTERM) == -signal.SIGTERM
    assert time.monotonic() - begin < 1
