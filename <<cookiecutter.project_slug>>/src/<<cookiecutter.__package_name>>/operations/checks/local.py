# Part of the template: you need not edit this file.
"""The checks on this installation: settings, limits and database; `files.py` checks its files.

Each yields its findings; CHECKS lists them all. Ids are never reused.
"""

import asyncio
import ipaddress
import json
import resource
import subprocess
import sys
<% if cookiecutter.__servers %>
import time
<% endif %>
import tomllib
from collections.abc import Callable, Iterator
from datetime import date, << 'datetime, ' if cookiecutter.__servers else '' >>timedelta
from pathlib import Path
<% if cookiecutter.sign_in == "sso" %>
from urllib.parse import urlsplit
<% endif %>

#% if cookiecutter.database == "postgresql"
from sqlalchemy import make_url

#% endif
from ... import COMMAND
from ...database import DATABASE_ERRORS, reason
#% if cookiecutter.database == "postgresql"
from ...engine import connection_limit
#% endif
from ...migrations import pending_migrations
from ...runtime.settings import SettingsError, in_ci<< ', in_container' if cookiecutter.__containers else '' >>
from ...settings import Settings, load_settings
from . import files
from .findings import Finding, error, unchecked, warning

# The process manager's configuration in deploy/ kills a worker this long after SIGTERM.
STOP_SECONDS = << cookiecutter.__stop_seconds >>
#% if cookiecutter.database == "postgresql"
# The number of workers there.
PROCESSES = << cookiecutter.process_count >>
#% endif
SECRET_AGE = timedelta(days=365)
ROTATION_AGE = timedelta(days=60)
<% if cookiecutter.__servers %>
BACKUP_AGE = timedelta(days=2)
<% endif %>
OPEN_FILES = << cookiecutter.__least_open_files >>
AUDIT_SECONDS = 120
#% if cookiecutter.database == "postgresql"
# The modes of sslmode that require TLS, so that an attacker on the network cannot read.
TLS_MODES = ("require", "verify-ca", "verify-full")
#% endif

Check = Callable[[Settings], Iterator[Finding]]


def check_local() -> list[Finding]:
    """Run all the checks in the current folder and return what they found."""
    try:
        settings = load_settings()
    except SettingsError as problem:
        return [error("S001", str(problem), "Correct .env or the environment; see .env.example.")]
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check(settings)
        except OSError as problem:
            # For example another user's files.
            findings.append(
                unchecked(
                    "S004",
                    f"This could not be checked: {check.__doc__} {problem}",
                    "Run `check` as the user who runs the service.",
                )
            )
    return findings


def secret_age(settings: Settings) -> Iterator[Finding]:
    """S002, S003: a secret is replaced each year, and its replacement is finished."""
    days = {version: _day(version) for version in settings.cookie_secret}
    signing = days[next(iter(days))]
    if signing and date.today() - signing > SECRET_AGE:
        yield warning(
            "S002",
            f"The cookie secret is from {signing}.",
            "Replace it without ending a session: `secret rotate`, in three steps.",
        )
    newest = days[max(days)]
    if len(days) > 1 and newest and date.today() - newest > ROTATION_AGE:
        yield warning(
            "S003",
            f"The rotation of the cookie secret that began on {newest} was not finished.",
            "Take the next step: `secret rotate`.",
        )


def debug_mode(settings: Settings) -> Iterator[Finding]:
    """D001: nothing of debug mode is on."""
    flags = settings.debug_flags
    on = [name for name in ("autoreload", "serve_traceback") if flags[name]]
    if settings.debug or on:
        names = ", ".join(["debug"] * settings.debug + on).upper()
        yield error(
            "D001",
            f"{names} is on: visitors see tracebacks, or the service restarts by itself.",
            "Remove it from .env and the environment.",
        )


def bind_address(settings: Settings) -> Iterator[Finding]:
    """<< 'N003, N001' if cookiecutter.__containers else 'N001' >>: only the balancer reaches a process that believes the balancer's headers."""
#% if cookiecutter.__containers
    if in_container():
        # The engine's network decides who reaches a container: the balancer, as no port is published.
        if _is_here(settings.host):
            yield error(
                "N003",
                f"It listens on {settings.host}, which nobody outside of the container reaches.",
                "HOST=0.0.0.0, as the image has it.",
            )
        return
#% endif
    if settings.behind_proxy and not _is_here(settings.host):
        yield error(
            "N001",
            f"It listens on {settings.host} and believes X-Real-IP and X-Forwarded-Proto,"
            " so that every client can forge its address.",
            "HOST=127.0.0.1 behind a balancer on this machine, or BEHIND_PROXY=false without one.",
        )


def time_budget(settings: Settings) -> Iterator[Finding]:
    """T001: a worker may finish its drain before the process manager kills it."""
    needed = settings.unready_seconds + settings.drain_seconds
    if needed >= STOP_SECONDS:
        yield error(
            "T001",
            f"UNREADY_SECONDS and DRAIN_SECONDS are {needed:g} s together, but the process manager"
            f" kills a worker {STOP_SECONDS} s after SIGTERM.",
            "Lower them, or raise the stop time in deploy/ and STOP_SECONDS here with it.",
        )


def file_limit(settings: Settings) -> Iterator[Finding]:
    """L001: a process may open a file for each connection."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit != resource.RLIM_INFINITY and limit < OPEN_FILES:
        yield warning(
            "L001",
            f"A process can open {limit} files at most, and each connection is one.",
            "Raise the limit; deploy/README.md lists where.",
        )


def migrations(settings: Settings) -> Iterator[Finding]:
    """M001, M002: the database can be reached and has the newest schema."""
    try:
        missing = asyncio.run(pending_migrations(settings.database_url))
    except DATABASE_ERRORS as problem:
        yield error(
            "M001",
            f"The database cannot be used: {reason(problem)}",
            "Check DATABASE_URL and the database itself.",
        )
        return
    if missing:
        yield error(
            "M002",
            f"The database lacks the migrations {', '.join(missing)}.",
            "Apply them: `migrate`.",
        )


<% if cookiecutter.database == "postgresql" %>
def connections(settings: Settings) -> Iterator[Finding]:
    """L002: the server has all the connections that the processes, and a command, may open."""
    try:
        limit = asyncio.run(connection_limit(settings.database_url))
    except DATABASE_ERRORS:
        # M001 reports this.
        return
    wanted = PROCESSES * settings.database_connections
    if wanted >= limit:
        yield warning(
            "L002",
            f"{PROCESSES} processes may open {wanted} connections to the database, whose server has"
            f" {limit} for all its users.",
            "Lower DATABASE_CONNECTIONS, or raise the server's max_connections.",
        )


def database_network(settings: Settings) -> Iterator[Finding]:
    """N002: connections to the database over a network are encrypted."""
    for name in ("database_url", "backup_database_url"):
        if not (text := getattr(settings, name)):
            continue
        url = make_url(text)
        options = {option: str(value) for option, value in url.query.items()}
        host = options.get("host") or url.host or ""
        here = not host or host.startswith(("/", "@")) or _is_here(host)
#% if cookiecutter.__containers
        # A name without a dot is on the engine's own network; deploy/README.md has how to encrypt that.
        here = here or (in_container() and "." not in host)
#% endif
        if not here and options.get("sslmode") not in TLS_MODES:
            yield error(
                "N002",
                f"The password and the data go to the database on {host} without TLS, or without it"
                " if an attacker on the way wants so.",
                f"Add ?sslmode=require to {name.upper()}; verify-full also asks who answers.",
            )


<% endif %>
<% if cookiecutter.sign_in == "sso" %>
def single_sign_on(settings: Settings) -> Iterator[Finding]:
    """O001, O002, O003: users can sign in, at a provider that nobody on the way can play."""
    if settings.missing_for_sign_in:
        yield warning(
            "O001",
            f"Nobody can sign in without {', '.join(settings.missing_for_sign_in)}.",
            "Register the service at your provider: docs/single-sign-on.md.",
        )
    issuer = urlsplit(settings.oidc_issuer or "https://")
    if issuer.scheme != "https" and not _is_here(issuer.hostname or ""):
        yield error(
            "O002",
            f"The provider {settings.oidc_issuer} is asked without TLS: on the way anybody can"
            " answer in its place, and sign in as any user.",
            "Give OIDC_ISSUER with https, as the provider's discovery names itself.",
        )
    if not settings.oidc_allowed_domains and not settings.oidc_allowed_groups:
        yield warning(
            "O003",
            "Nobody may sign in: no domain and no group is allowed.",
            "Set OIDC_ALLOWED_DOMAINS or OIDC_ALLOWED_GROUPS; * allows every account of the provider.",
        )


<% endif %>
def vulnerabilities(settings: Settings) -> Iterator[Finding]:
    """V001, V002: every dependency is audited, and none has a known vulnerability."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    problem = f"No package could be audited: no answer within {AUDIT_SECONDS} s"
    packages = []
    try:
        answer = subprocess.run(
            [*command, "--skip-editable"],
            capture_output=True,
            timeout=AUDIT_SECONDS,
            check=False,
        )
        reason = answer.stderr.decode(errors="replace").strip().rpartition("\n")[2] or "no answer"
        problem = f"No package could be audited: {reason}"
        packages = json.loads(answer.stdout)["dependencies"]
        names = [package["name"] for package in packages if "skip_reason" in package]
        # The service itself is on no list.
        skipped = [name for name in names if name != COMMAND]
        more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        problem = f"Not audited: {', '.join(skipped[:3])}{more}." if skipped else ""
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        pass
    finding = error if in_ci() else warning
    accepted = _accepted_advisories()
    for package in packages:
        for found in package.get("vulns", []):
            if accepted.get(found["id"], date.min) >= date.today():
                continue
            fixed = " or ".join(found["fix_versions"]) or "a version that is not out yet"
            yield finding(
                "V001",
                f"{package['name']} {package['version']} has the known vulnerability {found['id']}.",
                f"Update it to {fixed}: `make lock`. Or accept it for a time, with a reason, in"
                " [tool.audit] of pyproject.toml.",
            )
    if problem:
        yield unchecked(
            "V002",
            problem,
            "Run `check` where pip-audit is installed and reaches the index, in CI for one.",
        )


<% if cookiecutter.__servers %>
def nightly_backups(settings: Settings) -> Iterator[Finding]:
    """B001: on a server the database was copied in one of the last two nights."""
    if not Path(".env.release").exists():
        return
    copies = [path.stat().st_mtime for path in Path("var/backups").glob("nightly-*")]
    # Before the first night: since when there are settings.
    newest = max(copies, default=Path(".env").stat().st_mtime)
    if time.time() - newest > BACKUP_AGE.total_seconds():
        yield warning(
            "B001",
            f"No nightly copy of the database since {datetime.fromtimestamp(newest):%Y-%m-%d %H:%M}.",
            "`journalctl --unit << cookiecutter.project_slug >>-backup` says why; `systemctl list-timers` shows when it is next.",
        )


<% endif %>
CHECKS: tuple[Check, ...] = (
    secret_age,
    *files.CHECKS,
    debug_mode,
    bind_address,
    time_budget,
    file_limit,
    migrations,
#% if cookiecutter.database == "postgresql"
    connections,
    database_network,
#% endif
#% if cookiecutter.sign_in == "sso"
    single_sign_on,
#% endif
<% if cookiecutter.__servers %>
    nightly_backups,
<% endif %>
    vulnerabilities,
)


def _accepted_advisories() -> dict[str, date]:
    """Return the advisories that pyproject.toml accepts with a reason, each with its last day."""
    project = Path("pyproject.toml")
    if not project.exists():
        return {}
    listed = tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {}).get("audit", {})
    return {name: one["until"] for name, one in listed.items() if one.get("reason")}


def _day(version: int) -> date | None:
    try:
        return date.fromisoformat(str(version))
    except ValueError:
        return None


def _is_here(host: str) -> bool:
    """Return whether this address is reachable only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
