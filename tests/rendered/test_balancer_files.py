"""The programs that read the files in deploy/ accept them, and the files agree with the service."""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from supervisor.options import ServerOptions
from tornado.httpserver import _HTTPRequestContext

from tests.bake import QUESTIONS, package_of
from tests.deployed import make_certificate, nginx_on_this_machine, on_this_machine, without_ipv6
from tests.environment import tools

# Servers are where on Debian only root looks.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
EVERYWHERE = {
    "README.md",
    "ansible.cfg",
    "backup",
    "build",
    "inventory/example.yml",
    "local/stack",
    "local/supervisord.conf",
    "logs",
    "playbook.yml",
    "publish",
    "roll",
    "venv",
    "callback_plugins/milestones.py",
    "release/__main__.py",
    "release/ask.py",
    "release/balancer.py",
    "release/boot.service",
    "release/home.py",
    "release/layout.json",
    "release/processes.py",
    "release/steps.py",
    "tasks/ask.yml",
    "tasks/bring.yml",
    "tasks/build.yml",
    "tasks/inventory.yml",
    "tasks/letsencrypt.yml",
    "tasks/outside.yml",
    "tasks/packages.yml",
    "tasks/run.yml",
    "tasks/server.yml",
    "tasks/settings.yml",
}
BALANCERS = {
    "nginx": {
        "local/https.conf",
        "local/nginx.conf",
        "nginx/behind-proxy.conf",
        "nginx/defaults.conf",
        "nginx/http.conf",
        "nginx/https.conf",
        "nginx/logrotate.conf",
        "nginx/nginx.conf",
        "nginx/site.conf",
    },
    "haproxy": {"haproxy/haproxy.cfg", "haproxy/site.cfg", "local/haproxy.cfg"},
}
MANAGERS = {
    "supervisord": {
        "supervisor/supervisord.conf",
        "supervisor/supervisord.service",
        "supervisor/watchdog",
        "supervisor/workers.conf",
    },
    "systemd": {"systemd/my-service.target", "systemd/my-service@.service"},
}
# Where on a server stands how long a process may take to end, says that it is not ready before, and
# how many files it may open.
TOLD = {
    "supervisord": {
        "stop": ("supervisor/workers.conf", r"stopwaitsecs=(\d+)"),
        "unready": ("supervisor/workers.conf", r'UNREADY_SECONDS="(\d+)"'),
        "files": ("supervisor/supervisord.service", r"LimitNOFILE=(\d+)"),
    },
    "systemd": {
        "stop": ("systemd/my-service@.service", r"TimeoutStopSec=(\d+)"),
        "unready": ("systemd/my-service@.service", r"UNREADY_SECONDS=(\d+)"),
        "files": ("systemd/my-service@.service", r"LimitNOFILE=(\d+)"),
    },
}
EXTREMES = {
    "defaults": {},
    "one process": {"process_count": "1"},
    "many processes": {"project_slug": "a", "process_count": "64", "first_port": "65000"},
    "long": {"project_slug": "s" * 32, "domain_name": ".".join(["a" * 63] * 3 + ["b" * 61])},
}
SYSTEMD_STOP_SECONDS = 90  # TimeoutStopSec, unless a unit says otherwise
extremes = pytest.mark.parametrize("answers", EXTREMES.values(), ids=EXTREMES)

Bake = Callable[..., Path]


def find(program: str) -> str:
    path = shutil.which(program, path=PATH)
    if path is None:
        end = pytest.fail if os.environ.get("CI") else pytest.skip
        end(f"{program} is not installed: tests/install-system-packages {program}")
    return path


def accepted(*command: str | Path, cwd: Path) -> str:
    """Run a program's check of its own files; return its other output."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def number(path: Path, pattern: str) -> float:
    """The one number, or sum of numbers, that the pattern finds in a file."""
    found = re.findall(pattern, path.read_text())
    assert len(found) == 1, f"{pattern} is in {path.name} {len(found)} times"
    return sum(float(term) for term in found[0].split("+"))


def ports_of(answers: dict[str, str]) -> range:
    """The ports of the processes that these answers give."""
    first = int(answers.get("first_port", QUESTIONS["first_port"]))
    return range(first, first + int(answers.get("process_count", QUESTIONS["process_count"])))


def told(project: Path, manager: str, what: str) -> float:
    """What the process manager's files say of this on a server."""
    file, pattern = TOLD[manager][what]
    return number(project / "deploy" / file, pattern)


def drain_seconds(project: Path) -> float:
    return number(
        package_of(project) / "runtime/settings.py", r"drain_seconds: [^)]*?default=(\d+)"
    )


def ping_seconds(project: Path) -> float:
    return number(package_of(project) / "app.py", r"websocket_ping_interval=(\d+)")


@pytest.mark.parametrize("manager", MANAGERS)
@pytest.mark.parametrize("balancer", BALANCERS)
def test_only_the_chosen_balancer(bake: Bake, balancer: str, manager: str) -> None:
    """deploy/ has the files of the chosen balancer, and no trace of the other one.

    Files that every choice has, such as a fork's own, may name both.
    """
    project = bake(load_balancer=balancer, process_manager=manager)
    deploy = project / "deploy"
    files = {str(path.relative_to(deploy)) for path in deploy.rglob("*") if path.is_file()}
    chosen = EVERYWHERE | BALANCERS[balancer] | MANAGERS[manager]
    assert files & chosen.union(*BALANCERS.values(), *MANAGERS.values()) == chosen
    (other,) = BALANCERS.keys() - {balancer}
    for path in files:
        assert other not in (deploy / path).read_text().lower(), path


@extremes
def test_nginx_accepts(bake: Bake, tmp_path: Path, answers: dict[str, str]) -> None:
    """nginx accepts the files of localhost and of a server without a warning."""
    nginx = find("nginx")
    project = bake(**answers)
    for main in nginx_variants(project, tmp_path):
        said = accepted(nginx, "-e", "stderr", "-p", f"{project}/", "-c", main, "-t", cwd=project)
        assert "[" not in said, said  # a level, as in [warn]


def test_nginx_is_the_same_for_all_services(bake: Bake) -> None:
    """The files that are copied to /etc/nginx do not depend on answers."""
    others = {"project_slug": "other", "domain_name": "other.example", "process_count": "2"}
    ours, theirs = bake(), bake(**others, first_port="9000", process_manager="systemd")
    for name in ("nginx.conf", "defaults.conf"):
        here, there = (project / "deploy/nginx" / name for project in (ours, theirs))
        assert here.read_bytes() == there.read_bytes()


def test_nginx_accepts_many_services(bake: Bake, tmp_path: Path) -> None:
    """Several services work together, even if one name begins with another."""
    nginx = find("nginx")
    first = f"{'s' * 30}10"
    folder = tmp_path / "files"
    make_certificate(folder)
    for name in ("a", "a-login", "a-static", first):
        project = bake(project_slug=name, domain_name=f"{name}.example")
        main = nginx_on_this_machine(project, folder, port=8080)
    files = main.parent
    others = ["a", "a-login", "a-static", *(f"{'s' * 30}{number}" for number in range(11, 30))]
    for name in others:
        other = tmp_path / name / "deploy/nginx"
        if not other.exists():
            # But for the name it is the first one's.
            other.mkdir(parents=True)
            for file in files.glob("*.conf"):
                (other / file.name).write_text(file.read_text().replace(first, name))
        (files / "sites-enabled" / f"{name}.conf").symlink_to(other / "https.conf")
    said = accepted(nginx, "-e", "stderr", "-c", main, "-t", cwd=tmp_path)
    assert "[" not in said, said


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_kernel_without_ipv6_gets_files_without_it(bake: Bake, balancer: str) -> None:
    """The deploy's change makes every listener IPv4 only."""
    project = bake(load_balancer=balancer)
    listens = re.compile(r"^\s*(?:listen|bind|setenv LISTEN\w*) .*", re.MULTILINE)

    def places() -> list[str]:
        files = (project / "deploy" / balancer).iterdir()
        return [place for file in files for place in listens.findall(file.read_text())]

    before = places()
    files, taken_out = without_ipv6(project)
    for name in files:
        file = project / "deploy" / name
        file.write_text(taken_out.sub("", file.read_text()))
    assert any("::" in place for place in before)
    assert not any("::" in place for place in places())
    assert {80, 443} <= {int(port) for place in places() for port in re.findall(r"\b\d+", place)}


@pytest.mark.parametrize("analyser", ["gixy-ng", "gixy-next"])
def test_analysers_find_nothing(bake: Bake, tmp_path: Path, analyser: str) -> None:
    """No file for nginx has a known danger, TLS included."""
    project = bake()
    # The files themselves say why.
    files = ("deploy/local/https.conf", "deploy/nginx/nginx.conf")
    argued = [("hsts_header", project / file) for file in files]
    for plugin in ("stale_dns_cache", "missing_resolver"):
        argued.append((plugin, project / "deploy/nginx/site.conf"))
    for main in nginx_variants(project, tmp_path):
        command = [tools(analyser) / "gixy", "-f", "json", main]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        found = [
            finding
            for finding in json.loads(done.stdout)
            if (finding["plugin"], Path(finding["file"]).resolve()) not in argued
        ]
        assert found == [], main


def nginx_variants(project: Path, folder: Path) -> list[Path]:
    """nginx's main files: on localhost with https, on a server, and there behind a TLS proxy."""
    for part in ("var/log", "var/nginx"):
        (project / part).mkdir(parents=True)
    make_certificate(folder)
    make_certificate(project / "var/tls")
    (project / "var/nginx/https.conf").symlink_to("../../deploy/local/https.conf")
    server = nginx_on_this_machine(project, folder)
    behind_proxy = shutil.copytree(server.parent, project / "behind-proxy", symlinks=True)
    site = behind_proxy / "sites-enabled" / f"{project.name}.conf"
    site.unlink()
    site.symlink_to("../behind-proxy.conf")
    return [project / "deploy/local/nginx.conf", server, behind_proxy / server.name]


@extremes
def test_haproxy_accepts(
    bake: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: dict[str, str]
) -> None:
    """HAProxy accepts the files of localhost and of a server without a warning."""
    haproxy = find("haproxy")
    project = bake(load_balancer="haproxy", **answers)
    (project / "var/haproxy").mkdir(parents=True)
    make_certificate(tmp_path)
    monkeypatch.setenv("LISTEN_TLS", f"127.0.0.1:8443 ssl crt {tmp_path}/fullchain.pem")
    server = on_this_machine(project, "deploy/haproxy/haproxy.cfg", tmp_path)
    for main in ("deploy/local/haproxy.cfg", server):
        said = accepted(haproxy, "-c", "-f", main, "-f", "deploy/haproxy/site.cfg", cwd=project)
        assert not re.search(r"WARNING|ALERT", said), said


@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("manager", MANAGERS)
@extremes
def test_supervisord_accepts(
    bake: Bake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    balancer: str,
    manager: str,
    answers: dict[str, str],
) -> None:
    """supervisord's own parser finds one process on each port, and no secret."""
    project = bake(load_balancer=balancer, process_manager=manager, **answers)
    (project / "var/log").mkdir(parents=True)
    monkeypatch.setenv("NGINX_USER", "")
    mains = {project / "deploy/local/supervisord.conf": {"balancer"}}
    if manager == "supervisord":
        server = on_this_machine(project, "deploy/supervisor/supervisord.conf", tmp_path)
        mains[server] = {f"{project.name}-watchdog"}
    for main, others in mains.items():
        options = ServerOptions()
        options.realize(["-c", str(main)])
        assert not options.parse_warnings
        processes = {
            process.name: process
            for group in options.process_group_configs
            for process in group.process_configs
        }
        ports = ports_of(answers)
        assert processes.keys() == {f"{project.name}-{port}" for port in ports} | others
        for port in ports:
            process = processes[f"{project.name}-{port}"]
            assert process.command.endswith(f"--host 127.0.0.1 --port {port}")
            assert Path(process.directory).resolve() == project
            assert process.environment.keys() <= {"UNREADY_SECONDS", "HOME"}
            assert process.stdout_logfile.endswith(f"{port}.log")


@pytest.mark.parametrize("balancer", BALANCERS)
@extremes
def test_systemd_accepts(
    bake: Bake, tmp_path: Path, balancer: str, answers: dict[str, str]
) -> None:
    """systemd accepts the units without a warning; the target starts one process on each port."""
    verify = [find("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no"]
    project = bake(load_balancer=balancer, process_manager="systemd", **answers)
    for kind in ("@.service", ".target"):
        on_this_machine(project, f"deploy/systemd/{project.name}{kind}", tmp_path)
    target = project / f"deploy/systemd/{project.name}.target"
    instances = [f"{project.name}@{port}.service" for port in ports_of(answers)]
    assert re.findall(r"^Wants=(.*)$", target.read_text(), re.MULTILINE) == instances
    units = [target, target.with_name(instances[0])]
    assert accepted(*verify, *units, cwd=project) == ""


def test_systemd_units_are_hardened(bake: Bake) -> None:
    """systemd rates a unit's exposure at 1.5 at most, on a scale where full root rights are 10."""
    project = bake(process_manager="systemd")
    accepted(
        *(find("systemd-analyze"), "security", "--offline=yes", "--threshold=15", "--no-pager"),
        f"deploy/systemd/{project.name}@.service",
        cwd=project,
    )


def test_the_watchdog_tolerates_one_late_beat(bake: Bake) -> None:
    """One beat of the event loop may be late: the watchdog waits for more than two."""
    project = bake(process_manager="systemd")
    beat = number(package_of(project) / "runtime/notify.py", r"BEAT_SECONDS = (\d+)")
    unit = project / f"deploy/systemd/{project.name}@.service"
    assert 2 * beat < number(unit, r"WatchdogSec=(\d+)")


@pytest.mark.parametrize("manager", MANAGERS)
def test_time_budget_of_nginx(bake: Bake, manager: str) -> None:
    """Each timeout is longer than the time limit of what it waits for."""
    project = bake(process_manager=manager)
    deploy = project / "deploy"
    server = package_of(project) / "runtime/server.py"
    upstream_idle = number(deploy / "nginx/http.conf", r"keepalive_timeout (\d+)s")
    waits_for_idle = number(server, r"BALANCER_IDLE_SECONDS = ([\d.+ ]+)")
    stop = told(project, manager, "stop")
    assert upstream_idle < waits_for_idle < drain_seconds(project) < stop < SYSTEMD_STOP_SECONDS

    read_timeout = number(deploy / "nginx/site.conf", r"proxy_read_timeout (\d+)s")
    assert ping_seconds(project) < read_timeout
    # A reload ends no request that a process may still answer.
    assert read_timeout < number(deploy / "nginx/nginx.conf", r"worker_shutdown_timeout (\d+)s")
    # The kernel repeats an unanswered knock after one second.
    assert number(deploy / "nginx/site.conf", r"proxy_connect_timeout (\d+)s") > 1


@pytest.mark.parametrize("manager", MANAGERS)
def test_time_budget_of_haproxy(bake: Bake, manager: str) -> None:
    """Each timeout is longer than the time limit of what it waits for."""
    project = bake(load_balancer="haproxy", process_manager=manager)
    deploy = project / "deploy"
    site = deploy / "haproxy/site.cfg"
    notices = number(site, r"check inter (\d+)ms") / 1000 * number(site, r" fall (\d+)")
    unready = told(project, manager, "unready")
    stop = told(project, manager, "stop")
    assert notices <= unready / 2
    assert unready + drain_seconds(project) < stop < SYSTEMD_STOP_SECONDS

    for timeout in ("server", "client", "tunnel"):
        assert ping_seconds(project) < number(site, rf"timeout {timeout} (\d+)s")
    answer = number(site, r"timeout server (\d+)s")
    assert answer < number(site, r"hard-stop-after (\d+)s") < SYSTEMD_STOP_SECONDS
    # `roll` asks three times; a process must be back in HAProxy's eyes before the next one leaves.
    back = number(site, r"check inter (\d+)ms") / 1000 * number(site, r" rise (\d+)")
    roll = deploy / "roll"
    asked_for = (number(roll, r"TIMES_READY = (\d+)") - 1) * number(roll, r"BETWEEN = ([\d.]+)")
    assert back < asked_for + notices


@pytest.mark.parametrize("manager", MANAGERS)
def test_limits_agree(bake: Bake, manager: str) -> None:
    """nginx and the processes have the same limits of files, two per connection, and of bodies."""
    project = bake(process_manager=manager)
    deploy = project / "deploy"
    for main in ("nginx/nginx.conf", "local/nginx.conf"):
        files = number(deploy / main, r"worker_rlimit_nofile (\d+)")
        assert files >= 2 * number(deploy / main, r"worker_connections (\d+)")
    assert files == told(project, manager, "files")
    body = number(deploy / "nginx/site.conf", r"client_max_body_size (\d+)m")
    assert body == number(
        package_of(project) / "runtime/server.py", r"MAX_BODY_BYTES = (\d+) \* 1024 \* 1024"
    )


@pytest.mark.parametrize("balancer", BALANCERS)
def test_security_headers_are_the_services(bake: Bake, balancer: str) -> None:
    """The balancer's own answers have the service's headers, with the same values."""
    project = bake(load_balancer=balancer)
    source = (package_of(project) / "runtime/application.py").read_text()
    (literal,) = re.findall(r"^SECURITY_HEADERS = (\{.*?^\})", source, re.DOTALL | re.MULTILINE)
    folder = project / "deploy" / balancer
    text = "\n".join(path.read_text() for path in sorted(folder.iterdir()))
    for name, value in ast.literal_eval(literal).items():
        quoted = f'(?:"{re.escape(value)}"|{re.escape(value)})'
        if balancer == "nginx":
            (variable,) = re.findall(rf"add_header {name} (\$\w+) always;", text)
            upstream = f"$upstream_http_{name.lower().replace('-', '_')}"
            pattern = rf'map {re.escape(upstream)} {re.escape(variable)} \{{[^}}]*"" {quoted};'
        else:
            found = rf"\{{ res\.hdr\({name.lower()}\) -m found \}}"
            pattern = rf"http-after-response set-header {name} {quoted} unless {found}"
        assert re.search(pattern, text), f"{name}: {value}"


@pytest.mark.parametrize("balancer", BALANCERS)
def test_headers_that_tornado_believes_are_overwritten(bake: Bake, balancer: str) -> None:
    """Each balancer overwrites or removes every header that `xheaders=True` believes."""
    believed = set(re.findall(r'"(X-[\w-]+)"', inspect.getsource(_HTTPRequestContext)))
    assert believed >= {"X-Real-Ip", "X-Forwarded-For", "X-Scheme", "X-Forwarded-Proto"}
    file, command = {
        "nginx": ("nginx/site.conf", "proxy_set_header"),
        "haproxy": ("haproxy/site.cfg", "http-request (?:set|del)-header"),
    }[balancer]
    text = (bake(load_balancer=balancer) / "deploy" / file).read_text()
    # Unconditionally: "if" and "unless" would stand at the line's end.
    lines = re.findall(rf"^ +{command} ([\w-]+)(?: [^ \n]+)?$", text, re.MULTILINE)
    assert {name.title() for name in believed} <= {name.title() for name in lines}


@pytest.mark.parametrize("manager", MANAGERS)
@pytest.mark.parametrize("name", ["roll", "local/stack"])
def test_programs_start(bake: Bake, name: str, manager: str) -> None:
    """The programs are executable, and report what is missing in one line."""
    program = bake(process_manager=manager) / "deploy" / name
    assert os.access(program, os.X_OK)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "make " in done.stderr
