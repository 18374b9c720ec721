"""Measure what the service does with more requests than it can answer.

First, signed-in requests for `/account` at the highest rate it can answer, by clients that wait for
each other; then the same, twice and ten times that rate, by clients that do not wait for each other
and give up after 10 s. On a shared machine the rates say little, because its other work varies. The
result is therefore the number of answers per second of processor time of process and balancer,
refusals included, as a ratio to that without overload. Run by root, the load has priority, as if it
came from another machine.

    make bench-overload             # prints the table that the README shows, in about five minutes
    make bench-overload SECONDS=30  # longer, varies less
"""

import itertools
import os
import re
import runpy
import select
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.run import children, processor_seconds
from tests.bake import TEMPLATE
from tests.running.load import Request
from tests.running.processes import Stack
from tests.running.projects import Project

SECONDS = int(os.environ.get("SECONDS", "10"))
GIVE_UP_SECONDS = 10
BEST_SECONDS = 4
# Enough to keep each process busy, and few enough for none to be refused.
CLOSED_LOOP = 32
TIMES = (1, 2, 10)
HEADER = (
    *("", "offered/s", "answered/s", "refused/s", "500", "given up, broken"),
    "answers from the same processor time",
    *("99% answered within, ms", "`/healthz`, `/readyz`: slowest, ms", "1 s later, ms"),
)


@dataclass
class Outcome:
    """What became of the requests of one load."""

    seconds: float = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def rate(self, status: int) -> float:
        return self.statuses[status] / self.seconds

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.latencies or [0, 0], n=100)[98] * 1000


class Client:
    """One request over a connection."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.begin = 0.0
        self.received = b""
        self.waiting = True

    def answered(self) -> int:
        """Take what has come; return the status as soon as all of the answer is there, else 0."""
        data = self.link.recv(65536)
        if not data:
            raise ConnectionError("closed without an answer")
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        return int(head[9:12]) if end and length and len(body) >= int(length[1]) else 0


def load(port: int, request: Request, seconds: float, rate: float) -> Outcome:
    """Ask so many times a second, in a process of its own, whatever is answered.

    With a rate of 0 clients wait for each other: each asks again when it is answered. It is made of
    sockets alone, as it has to ask many times faster than Python's servers answer.
    """
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    content = request.encode(f"localhost:{port}", keep=True)
    outcome = Outcome(seconds)
    ready = select.epoll()
    clients: dict[int, Client] = {}
    free: list[Client] = []
    asked: deque[Client] = deque()
    begin = now = time.monotonic()
    number = 0

    def end(client: Client, what: str = "") -> None:
        client.waiting = False
        if what:
            outcome.failed[what] += 1
            del clients[client.link.fileno()]
            client.link.close()
        else:
            free.append(client)

    def ask() -> None:
        if free:
            client = free.pop()
            clients[client.link.fileno()] = client = Client(client.link)
        else:
            client = Client(socket.create_connection(("127.0.0.1", port)))
            client.link.setblocking(False)
            clients[client.link.fileno()] = client
            ready.register(client.link, select.EPOLLIN)
        client.begin = time.monotonic()
        asked.append(client)
        try:
            client.link.send(content)
        except OSError as error:
            end(client, str(error))

    while (now := time.monotonic()) < begin + seconds:
        due = (now - begin) * rate if rate else number + CLOSED_LOOP - len(clients) + len(free)
        while number < due:
            ask()
            number += 1
        for descriptor, _ in ready.poll(0.002):
            client = clients[descriptor]
            try:
                status = client.answered()
            except OSError as error:
                if client.waiting:
                    end(client, str(error))
                else:  # the balancer has closed an idle connection
                    free.remove(client)
                    del clients[descriptor]
                    client.link.close()
                continue
            if status:
                outcome.statuses[status] += 1
                if status == 200:
                    outcome.latencies.append(time.monotonic() - client.begin)
                end(client)
        while asked and asked[0].begin < now - GIVE_UP_SECONDS:
            late = asked.popleft()
            if late.waiting:
                end(late, "nothing within 10 s")
    # End the clients that still wait.
    for client in clients.values():
        client.link.close()
    return outcome


def probe(stack: Stack, running: "Future[Outcome]") -> str:
    """How long the probes take meanwhile, at most; or what they answer instead."""
    slowest = 0.0
    while not running.done():
        for path in ("/healthz", "/readyz"):
            begin = time.monotonic()
            try:
                status = httpx.get(stack.url + path, trust_env=False, timeout=20).status_code
            except httpx.TransportError as error:
                return f"{path}: {type(error).__name__}"
            if status != 200:
                return f"{path}: {status}"
            slowest = max(slowest, time.monotonic() - begin)
        time.sleep(0.2)
    return f"{slowest * 1000:.0f}"


def afterwards(stack: Stack, request: Request) -> str:
    """What one request takes a second after the load."""
    time.sleep(1)
    begin = time.monotonic()
    answer = httpx.get(
        stack.url + request.path, headers={"Cookie": request.cookies}, trust_env=False, timeout=20
    )
    took = f"{(time.monotonic() - begin) * 1000:.0f}"
    return took if answer.status_code == 200 else f"{answer.status_code} after {took}"


def row(name: str, outcome: Outcome, offered: float, ratio: float, probed: str, later: str) -> None:
    other = {s: n for s, n in outcome.statuses.items() if s not in (200, 503)}
    cells = (
        *(name, f"{offered:.0f}", f"{outcome.rate(200):.0f}", f"{outcome.rate(503):.0f}"),
        *(f"{sum(other.values())}", f"{outcome.failed.total()}", f"{ratio:.2f}"),
        *(f"{outcome.p99:.0f}", probed, later),
    )
    print(f"| {' | '.join(cells)} |", flush=True)
    for what, count in [*other.items(), *outcome.failed.items()]:
        print(f"{name}: {count} times {what}", file=sys.stderr)


def measure(project: Project, name: str) -> None:
    with Stack(project) as stack, ProcessPoolExecutor(1) as executor:
        cookie = project.session_cookie
        session = f"{cookie}={stack.sign_in(*stack.add_user())[cookie]}"
        request = Request("GET", "/account", 200, cookies=session)
        (balancer,) = (
            process["pid"]
            for process in stack.supervisor.getAllProcessInfo()
            if process["name"] == "balancer"
        )
        pids = [*stack.worker_pids().values(), balancer, *children(balancer)]

        def run(seconds: float, rate: float) -> tuple[Outcome, float, str]:
            """Return the outcome, its answers from a second of processor time, and the probes."""
            before = sum(map(processor_seconds, pids))
            running = executor.submit(load, project.balancer_port, request, seconds, rate)
            probed = probe(stack, running)
            outcome = running.result()
            spent = sum(map(processor_seconds, pids)) - before
            return outcome, outcome.statuses[200] / spent, probed

        # A warm-up.
        run(BEST_SECONDS, 0)
        for times in TIMES:
            best, from_a_second, _ = run(BEST_SECONDS, 0)
            offered = best.rate(200) * times
            outcome, under_load, probed = run(SECONDS, offered)
            later = afterwards(stack, request)
            ratio = under_load / from_a_second
            row(f"{name}, {times} times", outcome, offered, ratio, probed, later)


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a database on a server of its own."""
    (source,) = (TEMPLATE / "<<cookiecutter.project_slug>>/tests").glob("*postgresql*databases*")
    server = runpy.run_path(str(source))["Databases"]()
    try:
        yield server.new_url()
    finally:
        server.close()


def main() -> None:
    # The table is all that goes to standard output.
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(f"| {' | '.join(HEADER)} |")
    print(f"| {' | '.join(['---', *('---:' for _ in HEADER[1:])])} |", flush=True)
    with tempfile.TemporaryDirectory(prefix="o-") as name, ExitStack() as servers:
        packages = None
        for database, balancer in itertools.product(("sqlite", "postgresql"), ("nginx", "haproxy")):
            folder = Path(name) / f"{database}-{balancer}"
            project = Project.render(
                folder, database=database, load_balancer=balancer, process_count="1"
            )
            if database == "postgresql":
                with (project.folder / ".env").open("a") as env:
                    env.write(f"DATABASE_URL={servers.enter_context(postgresql())}\n")
                packages = None
            project.set_up(packages=packages)
            packages = project.folder / ".venv"
            title = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[database]
            measure(project, f"{title}, {'nginx' if balancer == 'nginx' else 'HAProxy'}")


if __name__ == "__main__":
    main()
