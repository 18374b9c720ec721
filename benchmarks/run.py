"""Measure what the generated service costs, side by side with what it is built on.

The machine may be shared and noisy, so nothing here is a number by itself: the sides of each
comparison take turns in short rounds, and what counts is the ratio within a round, of which the
median is shown. Where one process is compared with another, its processor time for each request is
the measure, which a busy neighbour does not change much; requests per second on one core are the
reciprocal.

    make bench             # prints the tables that the README shows, in about four minutes
    make bench ROUNDS=25   # takes longer, varies less
"""

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.running.processes import Service, Stack
from tests.running.projects import Project, require

ROUNDS = int(os.environ.get("ROUNDS", "9"))
ROUND_SECONDS = 1
CONNECTIONS = 64
HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")

NGINX = """
daemon off; worker_processes auto; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
    include /etc/nginx/mime.types; access_log {folder}/access.log; sendfile on;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@dataclass
class Side:
    """One side of a comparison: where the load goes, and whose processor time is counted."""

    name: str
    url: str
    pids: Sequence[int]
    headers: dict[str, str] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    halves: list[float] = field(default_factory=list)
    slowest: list[float] = field(default_factory=list)

    def round(self) -> None:
        """Load it for one round and note requests per second and processor time a request."""
        before = sum(map(processor_seconds, self.pids))
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{ROUND_SECONDS}s", "--latency"]
        for name, value in self.headers.items():
            command += ["-H", f"{name}: {value}"]
        said = subprocess.run([*command, self.url], capture_output=True, text=True, check=True)
        spent = sum(map(processor_seconds, self.pids)) - before
        requests = int(re.search(r"(\d+) requests in", said.stdout)[1])
        if errors := re.search(r"Socket errors.*", said.stdout):
            raise SystemExit(f"{self.name}: {errors[0]}")
        self.rates.append(float(re.search(r"Requests/sec:\s+([\d.]+)", said.stdout)[1]))
        self.costs.append(spent / requests)
        self.halves.append(latency(said.stdout, 50))
        self.slowest.append(latency(said.stdout, 99))

    @property
    def cost(self) -> str:
        """Processor time a request, in microseconds."""
        return f"{statistics.median(self.costs) * 1e6:.0f}"

    @property
    def rate(self) -> str:
        """Requests a second."""
        return f"{statistics.median(self.rates):.0f}"


def latency(text: str, percent: int) -> float:
    """Return wrk's percentile of the response time, in milliseconds."""
    number, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)\b", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def processor_seconds(pid: int) -> float:
    """The processor time that a process has used, in the kernel too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def children(pid: int) -> list[int]:
    """The processes that a process has started: of nginx, those that answer."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def memory(pid: int) -> float:
    """Return the private memory of a process, in MiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(number) for number in re.findall(r"Private_\w+:\s+(\d+)", text)) / 1024


def compare(*sides: Side) -> None:
    """Let the sides take turns, there and back, so that none always comes after the same one."""
    for number in range(ROUNDS):
        for side in sides if number % 2 else reversed(sides):
            side.round()


def ratio(dividends: Iterable[float], divisors: Iterable[float]) -> str:
    """The median of the ratios, one of each round."""
    pairs = zip(dividends, divisors, strict=True)
    return f"{statistics.median(above / below for above, below in pairs):.2f}"


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n**{title}**\n")
    print(f"| {' | '.join(header)} |")
    print(f"| {' | '.join(['---', *('---:' for _ in header[1:])])} |")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def by_cost(title: str, reference: Side, *others: Side) -> None:
    """Compare processor time a request; a ratio above 1 means more requests on one core."""
    compare(reference, *others)
    rows = [
        (side.name, side.cost, ratio(reference.costs, side.costs)) for side in (reference, *others)
    ]
    table(title, ("", "processor time each, µs", "requests on one core"), rows)


def by_rate(title: str, reference: Side, *others: Side) -> None:
    """Compare requests a second."""
    compare(reference, *others)
    rows = [
        (side.name, side.rate, ratio(side.rates, reference.rates)) for side in (reference, *others)
    ]
    table(title, ("", "requests a second", "ratio"), rows)


class Hello:
    """The bare hello world, on a free port of the project."""

    def __init__(self, project: Project) -> None:
        self.port = project.balancer_port
        command = [project.program("python"), HERE / "hello.py", str(self.port)]
        self.process = subprocess.Popen(command)
        wait_for_port(self.port)

    def __enter__(self) -> "Hello":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def side(self) -> Side:
        return Side("hello world", f"http://127.0.0.1:{self.port}/", [self.process.pid])


def wait_for_port(port: int, seconds: float = 20) -> None:
    """Return as soon as the port accepts connections."""
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise SystemExit(f"port {port} refuses connections after {seconds} s")
        time.sleep(0.01)


def cookie_header(cookies: httpx.Cookies) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


def signed_out(service: Service) -> dict[str, str]:
    """Return the cookies of an ended session, which still cost a query."""
    cookies = service.sign_in(*service.add_user())
    with service.client(cookies=cookies) as client:
        client.post("/logout", data={"_xsrf": cookies[service.project.xsrf_cookie]})
    return cookie_header(cookies)


def one_process(project: Project) -> None:
    """A JSON answer with everything on, and pages, from one process without a balancer."""
    plain_project = project.copy_to(project.folder.parent / "plain")
    plain_project.remove_fast()
    with (
        Hello(project) as hello,
        Service(project, project.first_port) as service,
        Service(plain_project, project.first_port + 1) as plain,
    ):
        signed_in = cookie_header(service.sign_in(*service.add_user()))
        plain_signed_in = cookie_header(plain.sign_in(*plain.add_user()))
        pids = [service.pid]
        without = "without `runtime/fast.py`"
        by_cost(
            "A JSON answer with request log, metrics, headers and request id",
            hello.side(),
            Side("`/api/me`, signed out", f"{service.url}/api/me", pids),
            Side(f"the same, {without}", f"{plain.url}/api/me", [plain.pid]),
            Side("`/api/me`, the session looked up", f"{service.url}/api/me", pids, signed_in),
            Side(f"the same, {without}", f"{plain.url}/api/me", [plain.pid], plain_signed_in),
        )
        login = f"{service.url}/login"
        pages = [
            Side("`/login`", login, pids),
            Side("`/login`, a session looked up that has ended", login, pids, signed_out(service)),
            Side("`/account`, its sessions read too", f"{service.url}/account", pids, signed_in),
        ]
        compare(*pages)
        rows = [
            [page.name, *(f"{statistics.median(column):.0f}" for column in
             (page.rates, page.halves, page.slowest))]
            for page in pages
        ]  # fmt: skip
        header = ("", "requests a second", "half within, ms", "99% within, ms")
        table(f"Pages, {CONNECTIONS} asked for at a time", header, rows)


def behind_nginx(project: Project) -> None:
    """Compare the cost of nginx for Tornado, and the speed of static files."""
    with ExitStack() as running:
        stack = running.enter_context(Stack(project))
        (worker,) = stack.worker_urls
        by_cost(
            "One process and nginx: the processor time of Tornado",
            Side("bare", f"{worker}/api/me", list(stack.worker_pids().values())),
            Side("through nginx", f"{stack.url}/api/me", list(stack.worker_pids().values())),
        )
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        port = project.first_port + 79
        folder.chmod(0o755)
        user = "user root;" if os.geteuid() == 0 else ""
        text = user + NGINX.format(folder=folder, port=port, root=project.package)
        (folder / "nginx.conf").write_text(text)
        bare = subprocess.Popen([require("nginx"), "-e", "stderr", "-c", folder / "nginx.conf"])
        running.callback(bare.wait)
        running.callback(bare.terminate)
        wait_for_port(port)
        stack_nginx = int((project.folder / "var" / "nginx.pid").read_text())
        page = httpx.get(stack.url, trust_env=False).text
        file = re.search(r'href="(/static/style\.css[^"]*)"', page)[1]
        sides = [
            Side("bare nginx", f"http://127.0.0.1:{port}{file}", children(bare.pid)),
            Side("nginx of the stack", f"{stack.url}{file}", children(stack_nginx)),
            Side("Tornado", f"{worker}{file}", list(stack.worker_pids().values())),
        ]
        compare(*sides)
        rows = [
            (side.name, side.cost, side.rate, ratio(side.rates, sides[0].rates)) for side in sides
        ]
        header = ("", "processor time each, µs", "requests a second", "ratio")
        table("A static file", header, rows)


def scaling(folder: Path, one: Project) -> None:
    """More processes on the cores there are."""
    with ExitStack() as running:
        sides = []
        for count in (1, 2, 4):
            project = one
            if count > 1:
                # While the others run, so that it gets other ports.
                project = Project.render(folder / f"{count}", process_count=f"{count}")
                project.set_up(packages=one.folder / ".venv")
            stack = running.enter_context(Stack(project))
            sides.append(Side(f"{count}", f"{stack.url}/api/me", []))
        by_rate(f"Processes behind nginx, {os.cpu_count()} cores for them and the load", *sides)


def start(project: Project) -> None:
    """From the start to the first good answer, and memory."""
    starts: dict[str, list[tuple[float, float, float]]] = {"hello world": [], "the service": []}

    def note(name: str, begin: float, pid: int) -> None:
        starts[name].append((time.monotonic() - begin, processor_seconds(pid), memory(pid)))

    for _ in range(ROUNDS):
        begin = time.monotonic()
        with Hello(project) as hello:
            note("hello world", begin, hello.process.pid)
        begin = time.monotonic()
        with Service(project, project.first_port) as service:
            note("the service", begin, service.pid)
    rows = []
    for name, noted in starts.items():
        seconds, processor, mebibytes = map(statistics.median, zip(*noted, strict=True))
        rows.append((name, f"{seconds:.2f}", f"{processor:.2f}", f"{mebibytes:.0f}"))
    header = ("", "seconds to the first answer", "processor time, s", "memory of its own, MiB")
    table("Start of a process", header, rows)


def main() -> None:
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed. Install it: sudo apt-get install wrk")
    # The tables are all that goes to standard output.
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        project = Project.render(Path(name) / "1", process_count="1")
        project.set_up()
        one_process(project)
        behind_nginx(project)
        scaling(Path(name), project)
        start(project)


if __name__ == "__main__":
    main()
