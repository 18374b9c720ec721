"""The checks on this installation."""

import json
<% if cookiecutter.__servers %>
import os
<% endif %>
import re
import subprocess
<% if cookiecutter.__servers %>
import time
<% endif %>
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from << cookiecutter.__package_name >> import COMMAND
from << cookiecutter.__package_name >>.engine import make_database
from << cookiecutter.__package_name >>.operations.checks import Finding, Severity, check_local, local
from << cookiecutter.__package_name >>.settings import Settings, load_settings

from ...conftest import SECRET

TODAY = date.today()
KEY = SECRET.removeprefix("1:")


def version(days_ago: int) -> str:
    return f"{TODAY - timedelta(days=days_ago):%Y%m%d}"


def ids(check: Callable[[Settings], Iterator[Finding]], **overrides: Any) -> list[str]:
    """Return the ids of a check's findings with these settings."""
    return [finding.id for finding in check(load_settings(**overrides))]


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The output of pip-audit, without the network."""
    audit = SimpleNamespace(stdout=b'{"dependencies": []}', stderr=b"")
    fake = SimpleNamespace(run=lambda *_, **__: audit, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(local, "subprocess", fake)
    return audit


def test_a_new_project_passes(folder: Path, audit: SimpleNamespace) -> None:
    """A project passes every check after `make setup`."""
    (folder / ".env").chmod(0o600)
    assert check_local() == []


def test_every_check_is_run(folder: Path, audit: SimpleNamespace) -> None:
    """The findings of all checks are reported together, errors and warnings."""
    wrong = f"COOKIE_SECRET={version(400)}:{KEY}\nDEBUG=true\nHOST=0.0.0.0\n"
    (folder / ".env").write_text(wrong + f"DATABASE_URL={load_settings().database_url}\n")
    (folder / ".env").chmod(0o644)
    found = {finding.id: finding.severity for finding in check_local()}
    assert found == {
        "S002": Severity.WARNING,
        "F001": Severity.ERROR,
        "D001": Severity.ERROR,
        "N001": Severity.ERROR,
#% if cookiecutter.sign_in == "sso"
        "O001": Severity.WARNING,
        "O003": Severity.WARNING,
#% endif
    }


def test_wrong_settings_are_a_finding(nowhere: Path) -> None:
    """S001: settings with which the service would not start."""
    (finding,) = check_local()
    assert (finding.id, finding.severity) == ("S001", Severity.ERROR)
    assert "COOKIE_SECRET: it has no value" in finding.problem


def test_unreadable_settings_are_a_finding(folder: Path) -> None:
    """S001: one line reports a file in another encoding, as at the start of the service."""
    with (folder / ".env").open("ab") as env:
        env.write("# für die Kollegen\n".encode("latin-1"))
    (finding,) = check_local()
    assert finding.id == "S001"
    assert finding.problem == ".env, line << "3" if cookiecutter.sign_in == "passwords" else "7" >> is not UTF-8. Save the file as UTF-8."


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (f"{version(1)}:{KEY}", []),
        (f"{version(364)}:{KEY}", []),
        (f"{version(366)}:{KEY}", ["S002"]),
        (f"{version(800)}:{KEY},{version(1)}:{KEY}", ["S002"]),
        (f"{version(1)}:{KEY},{version(800)}:{KEY}", []),
        (f"{version(61)}:{KEY},{version(800)}:{KEY}", ["S003"]),
        (f"1:{KEY}", []),
        (f"2:{KEY},1:{KEY}", []),
    ],
    ids=["new", "year", "old", "begun", "half", "forgotten", "undated", "two undated"],
)
def test_an_old_secret_is_found(folder: Path, secret: str, expected: list[str]) -> None:
    """S002 and S003: a secret may be a year old, and a rotation two months."""
    assert ids(local.secret_age, cookie_secret=secret) == expected


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"debug": True}, "DEBUG, AUTORELOAD, SERVE_TRACEBACK is on"),
        ({"serve_traceback": True}, "SERVE_TRACEBACK is on"),
        ({"autoreload": True}, "AUTORELOAD is on"),
        ({"compiled_template_cache": False, "static_hash_cache": False}, None),
        ({}, None),
    ],
    ids=str,
)
def test_debug_mode_is_found(folder: Path, flags: dict[str, bool], named: str | None) -> None:
    """D001: the flags that show tracebacks or restart the service are named."""
    problems = [finding.problem for finding in local.debug_mode(load_settings(**flags))]
    assert len(problems) == (named is not None)
    assert all(problem.startswith(str(named)) for problem in problems)


@pytest.mark.parametrize(
    ("host", "behind_proxy", "expected"),
    [
        ("127.0.0.1", True, []),
        ("::1", True, []),
        ("localhost", True, []),
        ("0.0.0.0", True, ["N001"]),  # noqa: S104 - that is what is looked for
        ("example.com", True, ["N001"]),
        ("0.0.0.0", False, []),  # noqa: S104
    ],
)
def test_a_forgeable_address_is_found(
    folder: Path, host: str, expected: list[str], *, behind_proxy: bool
) -> None:
    """N001: a process that believes the balancer's headers must be reachable only through it."""
    assert ids(local.bind_address, host=host, behind_proxy=behind_proxy) == expected


@pytest.mark.parametrize(
    ("unready", "drain", "expected"), [(0, 20, []), (<< cookiecutter.__stop_seconds | int - 21 >>, 20, []), (<< cookiecutter.__stop_seconds | int - 20 >>, 20, ["T001"])]
)
def test_a_drain_that_would_be_cut_is_found(
    folder: Path, unready: int, drain: int, expected: list[str]
) -> None:
    """T001: the process manager must wait longer than the drain."""
    found = ids(local.time_budget, unready_seconds=unready, drain_seconds=drain)
    assert found == expected


@pytest.mark.parametrize(("limit", "expected"), [(1024, ["L001"]), (4096, []), (-1, [])])
def test_a_low_limit_of_files_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limit: int, expected: list[str]
) -> None:
    """L001: each connection is a file."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (limit, limit))
    assert ids(local.file_limit) == expected


def test_an_unavailable_database_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """M001: the service would start, and never be ready."""

    async def refuse(url: str) -> list[str]:
        raise OperationalError("SELECT", None, Exception("no route to the database"))

    monkeypatch.setattr(local, "pending_migrations", refuse)
    (finding,) = local.migrations(load_settings())
    assert finding.id == "M001"
    assert finding.problem == "The database cannot be used: no route to the database"


<% if cookiecutter.__servers %>
def test_missing_backups_are_found(folder: Path) -> None:
    """B001: on a server, where the newest nightly copy is older than two days."""
    old = time.time() - 3 * 24 * 60 * 60
    os.utime(folder / ".env", (old, old))
    assert ids(local.nightly_backups) == []
    (folder / ".env.release").write_text("RELEASE=1\n")
    assert ids(local.nightly_backups) == ["B001"]
    copy = folder / "var/backups/nightly-20260101-030000"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.touch()
    assert ids(local.nightly_backups) == []
    os.utime(copy, (old, old))
    assert ids(local.nightly_backups) == ["B001"]


<% endif %>
def test_missing_migrations_are_found(folder: Path, new_url: str) -> None:
    """M002: the tables are older than the code."""
    assert ids(local.migrations) == []
    make_database(new_url)
    (finding,) = local.migrations(load_settings(database_url=new_url))
    assert finding.id == "M002"
    assert re.fullmatch(r"The database lacks the migrations \w+\.", finding.problem)


<% if cookiecutter.database == "postgresql" %>
def test_too_many_connections_are_found(folder: Path) -> None:
    """L002: under load the server would refuse connections; it reserves 3 for itself."""
    limit = 97
    enough = (limit - 1) // local.PROCESSES
    assert ids(local.connections, database_connections=enough) == []
    assert ids(local.connections, database_connections=enough + 1) == ["L002"]
    nowhere = "postgresql+psycopg:///nothing?host=/nowhere"
    assert ids(local.connections, database_connections=1000, database_url=nowhere) == []


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("/name", []),
        ("/name?host=/run/postgresql", []),
        ("localhost/name", []),
        ("user:word@127.0.0.1:5433/name", []),
        ("user:word@[::1]/name", []),
        ("user:word@192.0.2.1/name", ["N002"]),
        ("user:word@db.example.com/name?sslmode=prefer", ["N002"]),
        ("user:word@/name?host=192.0.2.1", ["N002"]),
        ("user:word@192.0.2.1/name?sslmode=require", []),
        ("user:word@db.example.com/name?sslmode=verify-full", []),
    ],
)
def test_a_database_over_an_open_network_is_found(
    folder: Path, rest: str, expected: list[str]
) -> None:
    """N002: unless TLS is required, the password can be read on the network."""
    url = f"postgresql+psycopg://{rest}"
    assert ids(local.database_network, database_url=url) == expected
    assert ids(local.database_network, backup_database_url=url) == expected


<% endif %>
def test_known_vulnerabilities_are_found(
    folder: Path, audit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V001: a vulnerability is reported with the version that fixes it."""
    monkeypatch.delenv("CI", raising=False)
    package = {"name": "old", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": []}]}
    audit.stdout = json.dumps({"dependencies": [{"name": "good", "version": "1"}, package]})
    (finding,) = local.vulnerabilities(load_settings())
    assert (finding.id, finding.severity) == ("V001", Severity.WARNING)
    assert finding.problem == "old 1.0 has the known vulnerability CVE-1."
    assert "not out yet" in finding.remedy


def test_a_vulnerability_is_accepted_for_a_time(
    folder: Path, audit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V001: an error in CI, unless pyproject.toml accepts it with a reason and a day to come."""
    monkeypatch.setenv("CI", "true")
    package = {"name": "old", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": []}]}
    audit.stdout = json.dumps({"dependencies": [package]})
    project = folder / "pyproject.toml"
    for entry, counts in {
        'until = 2999-12-31, reason = "It parses nothing of a client\'s"': False,
        'until = 2026-01-01, reason = "It parses nothing of a client\'s"': True,
        "until = 2999-12-31": True,
    }.items():
        project.write_text(f"[tool.audit]\nCVE-1 = {{ {entry} }}\n")
        found = [finding.severity for finding in local.vulnerabilities(load_settings())]
        assert found == ([Severity.ERROR] if counts else []), entry


@pytest.mark.parametrize("answer", [b"", b"no network", b"{}"])
def test_a_failed_audit_is_reported(folder: Path, audit: SimpleNamespace, answer: bytes) -> None:
    """V002: a missing or failing pip-audit is reported, not taken as a clean result."""
    audit.stdout, audit.stderr = answer, b"Asking\nNo module named pip_audit\n"
    (finding,) = local.vulnerabilities(load_settings())
    assert (finding.id, finding.severity) == ("V002", Severity.UNCHECKED)
    assert finding.problem == "No package could be audited: No module named pip_audit"


def test_an_audit_has_a_time_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """V002: an index that does not answer is reported after a limited time."""

    def hang(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("pip-audit", timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    (finding,) = local.vulnerabilities(load_settings())
    assert finding.problem == "No package could be audited: no answer within 120 s"


def test_skipped_packages_are_reported(folder: Path, audit: SimpleNamespace) -> None:
    """V002: pip-audit may skip packages; the service itself may be one of them."""
    names = ["alpha", "beta", COMMAND, "gamma", "delta"]
    packages = [{"name": name, "skip_reason": "not found"} for name in names]
    audit.stdout = json.dumps({"dependencies": packages})
    (finding,) = local.vulnerabilities(load_settings())
    assert (finding.id, finding.severity) == ("V002", Severity.UNCHECKED)
    assert finding.problem == "Not audited: alpha, beta, gamma and 1 more."
    audit.stdout = json.dumps({"dependencies": packages[2:3]})
    assert ids(local.vulnerabilities) == []


def test_a_failing_check_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot read something is reported and does not stop the other checks."""

    def refused(settings: Settings) -> Iterator[Finding]:
        """X001: nothing."""
        raise PermissionError(13, "Permission denied", "/srv/other")
        yield

    monkeypatch.setattr(local, "CHECKS", (refused, local.debug_mode))
    (folder / ".env").write_text(f"COOKIE_SECRET={SECRET}\nDEBUG=true\n")
    first, second = check_local()
    assert (first.id, first.severity, second.id) == ("S004", Severity.UNCHECKED, "D001")
    assert "X001: nothing. [Errno 13] Permission denied: '/srv/other'" in first.problem
<% if cookiecutter.sign_in == "sso" %>


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"oidc_issuer": "https://login.example.com"}, []),
        ({"oidc_client_secret": ""}, ["O001"]),
        ({"oidc_issuer": "http://login.example.com"}, ["O002"]),
        ({"oidc_allowed_domains": ""}, ["O003"]),
        ({"oidc_allowed_domains": "", "oidc_allowed_groups": "staff"}, []),
    ],
    ids=str,
)
def test_unsafe_single_sign_on_is_found(
    folder: Path, settings: dict[str, str], expected: list[str]
) -> None:
    """O001, O002, O003: nobody can sign in, or anybody on the way can answer for the provider."""
    assert ids(local.single_sign_on, **settings) == expected
<% endif %>
