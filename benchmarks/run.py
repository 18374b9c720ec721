"""Measure what the generated service costs, side by side with what it is built on.

The machine may be shared and noisy, so nothing here is a number by itself: the sides of each
comparison take turns in short rounds, and what counts is the ratio. Where one process is compared
with another, its processor time for each request is the measure, which a busy neighbour does not
change much; requests per second on one core are the reciprocal.

    make bench            # prints the tables
    make bench ROUNDS=9   # takes longer, varies less
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
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.bake import free_first_port
from tests.running.processes import Service, Stack, answers
from tests.running.projects import Project, require

ROUNDS = int(os.environ.get("ROUNDS", "5"))
ROUND_SECONDS = 2
CONNECTIONS = 64
HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")

NGINX = """
daemon off; worker_processes auto; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
    include /etc/nginx/mime.types; access_log off; sendfile on;
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
    latencies: list[tuple[float, float]] = field(default_factory=list)

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
        self.latencies.append((latency(said.stdout, 50), latency(said.stdout, 99)))

    @property
    def cost(self) -> float:
        """Processor seconds a request."""
        return statistics.median(self.costs)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return statistics.median(self.rates)


def latency(text: str, percent: int) -> float:
    """Milliseconds in which this percentage of the requests was answered, as wrk tells it."""
    number, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)\b", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def processor_seconds(pid: int) -> float:
    """The processor time that a process has used, in the kernel too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> float:
    """The memory of a process that it shares with nobody, in MiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(number) for number in re.findall(r"Private_\w+:\s+(\d+)", text)) / 1024


def compare(*sides: Side) -> None:
    """Let the sides take turns."""
    for _ in range(ROUNDS):
        for side in sides:
            side.round()


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n### {title}\n")
    print(f"| {' | '.join(header)} |")
    print(f"| {' | '.join('---' for _ in header)} |")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def by_cost(title: str, reference: Side, *others: Side) -> None:
    """Compare processor time a request; a ratio above 1 means more requests on one core."""
    compare(reference, *others)
    rows = [
        (side.name, f"{side.cost * 1e6:.0f}", f"{reference.cost / side.cost:.2f}")
        for side in (reference, *others)
    ]
    table(title, ("", "microseconds of processor a request", "requests on one core"), rows)


def by_rate(title: str, reference: Side, *others: Side) -> None:
    """Compare requests a second."""
    compare(reference, *others)
    rows = [
        (side.name, f"{side.rate:.0f}", f"{side.rate / reference.rate:.2f}")
        for side in (reference, *others)
    ]
    table(title, ("", "requests a second", "ratio"), rows)


class Hello:
    """The bare hello world, on a free port."""

    def __init__(self, project: Project) -> None:
        self.port = free_first_port()
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
    """Return as soon as somebody listens."""
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise SystemExit(f"nobody listens on port {port} after {seconds} s")
        time.sleep(0.01)


def cookie_header(cookies: httpx.Cookies) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


def answers_of_one_process(project: Project) -> None:
    """Benchmarks 1 and 6: a JSON answer with everything on, and the login page."""
    with Hello(project) as hello, Service(project, free_first_port()) as service:
        signed_in = cookie_header(service.sign_in(*service.add_user()))
        pids = [service.pid]
        by_cost(
            "1. A JSON answer with everything on, against the bare hello world",
            hello.side(),
            Side("/api/me, anonymous", f"{service.url}/api/me", pids),
            Side("/api/me, session looked up", f"{service.url}/api/me", pids, signed_in),
        )
        page = Side("/login", f"{service.url}/login", pids)
        account = Side(
            "/account, read from the database", f"{service.url}/account", pids, signed_in
        )
        compare(page, account)
        rows = [
            (side.name, f"{side.rate:.0f}", *(f"{statistics.median(column):.1f}" for column in
             zip(*side.latencies, strict=True)))
            for side in (page, account)
        ]  # fmt: skip
        header = ("", "requests a second", "half within ms", "99 % within ms")
        table(f"6. Pages, {CONNECTIONS} connections at a time", header, rows)


def through_the_balancer(project: Project) -> None:
    """Benchmarks 2 and 3: what nginx costs Tornado, and who serves static files how fast."""
    with ExitStack() as running:
        stack = running.enter_context(Stack(project))
        pids = list(stack.worker_pids().values())
        by_cost(
            "2. Through nginx, processor time of Tornado alone",
            Side("one process, bare", f"{stack.worker_urls[0]}/api/me", pids),
            Side("through nginx", f"{stack.url}/api/me", pids),
        )
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        port = free_first_port()
        folder.chmod(0o755)
        (folder / "nginx.conf").write_text(
            NGINX.format(folder=folder, port=port, root=project.package)
            + ("user root;" if os.geteuid() == 0 else "")
        )
        bare = subprocess.Popen([require("nginx"), "-e", "stderr", "-c", folder / "nginx.conf"])
        running.callback(bare.wait)
        running.callback(bare.terminate)
        wait_for_port(port)
        file = "/static/style.css?v=1"
        by_rate(
            "3. A static file",
            Side("bare nginx", f"http://127.0.0.1:{port}{file}", []),
            Side("the stack", f"{stack.url}{file}", []),
            Side("Tornado", f"{stack.worker_urls[0]}{file}", []),
        )


def scaling(folder: Path, venv: Path) -> None:
    """Benchmark 4: more processes on the cores there are."""
    with ExitStack() as running:
        sides = []
        for count in (1, 2, 4):
            project = Project.render(folder / str(count), process_count=str(count))
            project.set_up(packages=venv)
            project = Project(project.folder, project.balancer, project.first_port, count)
            stack = running.enter_context(Stack(project))
            sides.append(Side(f"{count}", f"{stack.url}/api/me", []))
        cores = os.cpu_count()
        by_rate(f"4. Processes behind nginx, on {cores} cores with the load beside them", *sides)


def start(project: Project) -> None:
    """Benchmark 5: from the start to the first answer, and memory."""
    times: dict[str, list[float]] = {"hello world": [], "the service": []}
    sizes: dict[str, float] = {}
    for _ in range(ROUNDS):
        begin = time.monotonic()
        with Hello(project) as hello:
            times["hello world"].append(time.monotonic() - begin)
            sizes["hello world"] = memory(hello.process.pid)
        port = free_first_port()
        service = Service(project, port)
        begin = time.monotonic()
        service.launch()
        while not answers(f"{service.url}/readyz"):
            time.sleep(0.01)
        times["the service"].append(time.monotonic() - begin)
        sizes["the service"] = memory(service.pid)
        service.stop()
    rows = [
        (name, f"{statistics.median(seconds):.2f}", f"{sizes[name]:.0f}")
        for name, seconds in times.items()
    ]
    table("5. Start", ("", "seconds to the first answer", "MiB of memory of its own"), rows)


def main() -> None:
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed. Install it: sudo apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        folder = Path(name)
        project = Project.render(folder / "one")
        project.set_up()
        answers_of_one_process(project)
        through_the_balancer(project)
        scaling(folder, project.folder / ".venv")
        start(project)


if __name__ == "__main__":
    main()
