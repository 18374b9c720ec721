"""HTTP as bytes on a socket, for what no well-behaved client would send, and what it must not do.

with unharmed(stack):
    assert exchange(port, message("GET / HTTP/1.1", "Content-Length: -1")) == [400]
"""

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.running.processes import Program, processes_in

STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3}) ", re.MULTILINE)
# What a process may take for a moment: a body of the largest size, several times over.
MEGABYTES_ALLOWED = 48


def message(
    line: str | bytes = "GET / HTTP/1.1", *headers: str | bytes, body: bytes = b"", host: str = ""
) -> bytes:
    """A request as bytes, with a `Host` and an end of the connection unless headers name them."""
    lines = [encoded(line), *map(encoded, headers)]
    names = {header.partition(b":")[0].strip().lower() for header in lines[1:]}
    if b"host" not in names:
        lines.insert(1, encoded(f"Host: {host or 'localhost'}"))
    if b"connection" not in names:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, b"", body])


def encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def conversation(port: int, data: bytes, *, seconds: float = 15) -> bytes:
    """Send these bytes and return all that comes back until the other side closes."""
    received = []
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        # A server that has read enough closes early, which a sender sees as a reset.
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while piece := connection.recv(65536):
                received.append(piece)
    return b"".join(received)


def exchange(port: int, data: bytes, *, seconds: float = 15) -> list[int]:
    """Send these bytes and return the status of each answer; none if it just closed."""
    return statuses(conversation(port, data, seconds=seconds))


def statuses(received: bytes) -> list[int]:
    """The status of each answer in what was received, those that announce another left out."""
    return [status for status in map(int, STATUS.findall(received)) if status != 100]


@contextlib.contextmanager
def unharmed(program: Program, *, megabytes: int = MEGABYTES_ALLOWED) -> Iterator[None]:
    """What happens inside must end no process, fill no memory and leave no failure in a log."""
    folder = program.project.folder
    before = processes_in(folder)
    workers = [pid for pid, command in before.items() if program.project.package_name in command]
    assert workers
    memory = {pid: memory_kilobytes(pid, "VmRSS") for pid in workers}
    for pid in workers:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # forget the peak
    lengths = {name: len(text) for name, text in program.logs().items()}
    yield
    assert processes_in(folder) == before, program.evidence()
    for pid in workers:
        grown = memory_kilobytes(pid, "VmHWM") - memory[pid]
        assert grown < megabytes * 1024, f"process {pid} has taken {grown} kB more"
    for name, text in program.logs().items():
        new = text[lengths.get(name, 0) :]
        assert not re.search('"level": "ERROR"|Traceback|exited on signal', new), f"{name}\n{new}"
    assert program.client().get("/healthz").status_code == 200


def memory_kilobytes(pid: int, line: str) -> int:
    """A figure of what a process takes: VmRSS now, VmHWM at its peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{line}:\s+(\d+) kB$", status, re.MULTILINE)[1])
