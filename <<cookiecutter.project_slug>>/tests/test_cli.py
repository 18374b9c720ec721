"""The command line."""

import asyncio
import getpass
#% if cookiecutter.sign_in == "passwords"
import io
#% endif
import json
import subprocess
import sys
#% if cookiecutter.sign_in == "passwords"
from collections.abc import Callable
#% endif
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pytest

from << cookiecutter.__package_name >> import COMMAND, cli
#% if cookiecutter.sign_in == "passwords"
from << cookiecutter.__package_name >>.accounts import Accounts, Client, Throttled
from << cookiecutter.__package_name >>.accounts.throttle import PER_NAME
from << cookiecutter.__package_name >>.database import Database
#% else
from << cookiecutter.__package_name >>.accounts import AccountError, Accounts, Client
from << cookiecutter.__package_name >>.database import Database
#% endif
from << cookiecutter.__package_name >>.engine import make_database
from << cookiecutter.__package_name >>.migrations import check_migrations
from << cookiecutter.__package_name >>.operations import checks
from << cookiecutter.__package_name >>.operations.checks import Finding, Severity
from << cookiecutter.__package_name >>.runtime.settings import (
    env_example,
    parse_cookie_secret,
)
from << cookiecutter.__package_name >>.settings import Settings, load_settings

<% if cookiecutter.sign_in == "passwords" %>
from .browser import BETTER, PASSWORD
<% else %>
from .accounts.people import identity
from .conftest import EVERYBODY
<% endif %>


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Settings, dict[str, object]]]:
    """The calls of `serve`, recorded instead of made."""
    served: list[tuple[Settings, dict[str, object]]] = []
    monkeypatch.setattr(cli, "serve", lambda settings, _, **how: served.append((settings, how)))
    monkeypatch.setattr(cli, "configure_logs", lambda *_, **__: None)
    return served


<% if cookiecutter.sign_in == "passwords" %>
@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], None]:
    """type_in("..."): sets the standard input of the next command."""

    def type_in(typed: str | bytes) -> None:
        typed = typed.encode() if isinstance(typed, str) else typed
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed)))

    return type_in


def can_sign_in(name: str, password: str) -> bool:
    async def sign_in() -> str | None:
        database = Database(load_settings().database_url)
        accounts = Accounts(database)
        try:
            return await accounts.sign_in(name, password, Client("192.0.2.1", "Test/1"))
        finally:
            accounts.close()
            await database.close()

    return asyncio.run(sign_in()) is not None


<% else %>
def can_sign_in(name: str) -> bool:
    async def sign_in() -> str | None:
        database = Database(load_settings().database_url)
        try:
            client = Client("192.0.2.1", "Test/1")
            accounts = Accounts(database, EVERYBODY)
            return await accounts.sign_in(identity(name), "a token", client)
        except AccountError:
            return None
        finally:
            await database.close()

    return asyncio.run(sign_in()) is not None


<% endif %>
def exit_code(*arguments: str) -> int | str | None:
    try:
        cli.run(arguments)
    except SystemExit as ended:
        return ended.code
    return 0


def test_serve_is_the_default(
    folder: Path, served: list[tuple[Settings, dict[str, object]]]
) -> None:
    """Without a command name the service starts, with or without options."""
    for arguments in ([], ["serve"], ["--port", "1234"], ["serve", "--port", "1234"]):
        cli.run(arguments)
    assert [settings.port for settings, _ in served] == [8888, 8888, 1234, 1234]
    assert all(how == {"reuse_port": False, "processes": None} for _, how in served)


def test_the_options_of_serve_reach_the_server(
    folder: Path, served: list[tuple[Settings, dict[str, object]]]
) -> None:
    """The command line sets host, port, debug mode and the way to run processes."""
    cli.run(["--host", "::1", "--port", "1234", "--debug", "--reuse-port", "--fork", "3"])
    ((settings, how),) = served
    assert (settings.host, settings.port, settings.debug) == ("::1", 1234, True)
    assert how == {"reuse_port": True, "processes": 3}


def test_serve_imports_nothing_of_other_commands() -> None:
    """A serving process starts as fast as possible, for the sake of rolling restarts."""
    script = (
        f"import sys, {cli.__name__};"
        "print(*{'alembic', 'mako'<< ", 'zxcvbn'" if cookiecutter.sign_in == "passwords" >>} & {name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert loaded.stdout.split() == []


<% if cookiecutter.sign_in == "passwords" %>
@pytest.mark.parametrize(
    "arguments", [["serve"], ["migrate"], ["user", "add", "eve", "--password-stdin"]], ids=str
)
def test_wrong_settings_are_listed_without_a_traceback(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    type_in: Callable[[str | bytes], None],
    arguments: list[str],
) -> None:
    """A command that needs the settings first lists everything that is wrong with them."""
    type_in(PASSWORD)
<% else %>
@pytest.mark.parametrize("arguments", [["serve"], ["migrate"], ["user", "list"]], ids=str)
def test_wrong_settings_are_listed_without_a_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """A command that needs the settings first lists everything that is wrong with them."""
<% endif %>
    monkeypatch.setenv("COOKIE_SECRET", "changeme")
    monkeypatch.setenv("DRAIN_SECONDS", "soon")
    code = exit_code(*arguments)
    # Python writes a text to the standard error and exits with 1.
    assert isinstance(code, str)
    first, *problems = code.splitlines()
    assert first.startswith("The settings are wrong")
    named = [line.partition(":")[0].strip() for line in problems]
    assert named == ["COOKIE_SECRET", "DRAIN_SECONDS"]
    assert "changeme" not in code
    assert "soon" not in code


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["user", "--help"]])
def test_help_is_printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Help needs no settings, and works with any name and description."""
    with pytest.raises(SystemExit) as ended:
        cli.run(arguments)
    assert ended.value.code == 0
    assert COMMAND in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["user"], ["user", "<< "add" if cookiecutter.sign_in == "passwords" else "disable" >>"]])
def test_unknown_commands_and_options_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown command or option ends with the usage."""
    with pytest.raises(SystemExit) as ended:
        cli.run(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_migrate_creates_the_database(
    folder: Path, new_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command creates a database that fits the code."""
    monkeypatch.setenv("DATABASE_URL", new_url)
    cli.run(["migrate"])
    asyncio.run(check_migrations(new_url))


<% if cookiecutter.sign_in == "passwords" %>
def test_an_account_is_made_with_a_password_from_standard_input(
    folder: Path,
    cheap: None,
    type_in: Callable[[str | bytes], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`user add` creates an account, and never shows the password."""
    type_in(f"{BETTER}\nanother line\n")
    cli.run(["user", "add", "eve", "--password-stdin"])
    assert capsys.readouterr().out == "Made the account eve.\n"
    assert can_sign_in("eve", BETTER)


def test_an_account_is_made_with_a_password_typed_twice(
    folder: Path, cheap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped password is refused, and no account is created."""
    typed = iter([PASSWORD, BETTER, PASSWORD, PASSWORD])
    monkeypatch.setattr("getpass.getpass", lambda _: next(typed))
    with pytest.raises(SystemExit, match="The two passwords differ"):
        cli.run(["user", "add", "eve"])
    assert not can_sign_in("eve", PASSWORD)
    cli.run(["user", "add", "eve"])
    assert can_sign_in("eve", PASSWORD)


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("Eve!", PASSWORD, "A name has 1 to 64 characters"),
        ("eve", "short", "A password has 12 to 128 characters"),
        ("eve", "passwordpassword", "Take several words"),
        ("ada", PASSWORD, "An account named ada already exists"),
    ],
)
def test_an_account_against_the_rules_is_refused(
    folder: Path,
    cheap: None,
    type_in: Callable[[str | bytes], None],
    name: str,
    password: str,
    reason: str,
) -> None:
    """Bad names, short passwords and duplicates end with the rule that they break."""
    type_in(f"{password}\n")
    with pytest.raises(SystemExit, match=reason):
        cli.run(["user", "add", name, "--password-stdin"])


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (f"\ufeff{BETTER}\n", "byte-order mark"),
        (f"{BETTER}\x01\n", "control characters"),
        (f"{BETTER}\t\n", "control characters"),
        (BETTER.encode("utf-16"), "not UTF-8"),
        (b"b\xfccher und zw\xf6lf katzen\n", "not UTF-8"),
        ("", "12 to 128 characters"),
    ],
    ids=ascii,
)
def test_a_password_that_no_form_can_send_makes_no_account(
    folder: Path,
    cheap: None,
    type_in: Callable[[str | bytes], None],
    typed: str | bytes,
    reason: str,
) -> None:
    """A password that no form can send is refused: the account could never sign in."""
    type_in(typed)
    with pytest.raises(SystemExit, match=reason):
        cli.run(["user", "add", "eve", "--password-stdin"])


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=ascii)
def test_line_ends_of_every_system_are_accepted(
    folder: Path, cheap: None, type_in: Callable[[str | bytes], None], end: str
) -> None:
    """The end of the line is not part of the password."""
    type_in(BETTER + end)
    cli.run(["user", "add", "eve", "--password-stdin"])
    assert can_sign_in("eve", BETTER)


def test_an_operator_manages_an_account(
    folder: Path,
    cheap: None,
    type_in: Callable[[str | bytes], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Disable, enable, reset, list, end sessions, clear attempts: each reports its effect."""

    def said(*arguments: str) -> str:
        cli.run(arguments)
        return capsys.readouterr().out

    assert can_sign_in("ada", PASSWORD)
    assert [line.split()[0] for line in said("user", "list").splitlines()] == ["ada", "bob"]
    assert said("user", "sessions", "ada").count("192.0.2.1") == 1
    assert said("user", "sessions", "ada", "--end") == "Ended 1 sessions of the account ada.\n"
    assert said("user", "sessions", "ada") == ""
    assert "is disabled" in said("user", "disable", "ada")
    assert not can_sign_in("ada", PASSWORD)
    ada, bob = said("user", "list").splitlines()
    assert "disabled" in ada
    assert "disabled" not in bob
    assert "is enabled" in said("user", "enable", "ada")
    for _ in range(PER_NAME - 1):
        assert not can_sign_in("ada", "wrong")
    with pytest.raises(Throttled):
        can_sign_in("ada", PASSWORD)
    assert said("attempts", "clear", "ada") == "Cleared the failed attempts on ada.\n"
    assert can_sign_in("ada", PASSWORD)
    type_in(BETTER)
    assert "has the new password" in said("user", "password", "ada", "--password-stdin")
    assert can_sign_in("ada", BETTER)
    assert not can_sign_in("ada", PASSWORD)
    assert said("attempts", "clear") == "Cleared the failed attempts on all accounts.\n"


<% else %>
def test_an_operator_manages_an_account(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Disable, enable, list, end sessions: each reports its effect; accounts go by numbers."""

    def said(*arguments: str) -> str:
        cli.run(arguments)
        return capsys.readouterr().out

    assert can_sign_in("eve")
    listed = [line.split() for line in said("user", "list").splitlines()]
    assert [words[1] for words in listed] == ["ada", "bob", "eve"]
    number = listed[-1][0]
    assert listed[-1][2] == "eve@example.com"
    assert said("user", "sessions", number).count("192.0.2.1") == 1
    assert said("user", "sessions", number, "--end").startswith("Ended 1 sessions")
    assert said("user", "sessions", number) == ""
    assert "is disabled" in said("user", "disable", number)
    assert not can_sign_in("eve")
    ada, _, eve = said("user", "list").splitlines()
    assert "disabled" in eve
    assert "disabled" not in ada
    assert "is enabled" in said("user", "enable", number)
    assert can_sign_in("eve")


<% endif %>
#% if cookiecutter.sign_in == "passwords"
def test_commands_of_operators_are_logged(
    folder: Path, cheap: None, capsys: pytest.CaptureFixture[str]
) -> None:
#% else
def test_commands_of_operators_are_logged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
#% endif
    """The security log goes to standard error, with the operating system's user as address."""
    cli.run(["user", "disable", "<< "ada" if cookiecutter.sign_in == "passwords" else "1" >>"])
    entry = json.loads(capsys.readouterr().err)
    assert (entry["logger"], entry["event"]) == ("security", "account_disabled")
    assert entry["account"] == "ada"
    assert entry["address"].startswith(f"{getpass.getuser()} on ")


<% if cookiecutter.sign_in == "passwords" %>
@pytest.mark.parametrize(
    "arguments", [["user", "disable"], ["user", "sessions"], ["attempts", "clear"]], ids=str
)
def test_a_missing_account_is_named(folder: Path, arguments: list[str]) -> None:
    """The error shows a mistyped name to the operator."""
    with pytest.raises(SystemExit, match="There is no account named 'eve'"):
        cli.run([*arguments, "eve"])


def test_a_database_without_tables_suggests_migrate(
    folder: Path,
    new_url: str,
    cheap: None,
    monkeypatch: pytest.MonkeyPatch,
    type_in: Callable[[str | bytes], None],
) -> None:
    """A command on a database without tables suggests `migrate`."""
    type_in(PASSWORD)
    make_database(new_url)
    monkeypatch.setenv("DATABASE_URL", new_url)
    reason = "(no such table|does not exist)"
    with pytest.raises(SystemExit, match=f"{reason}(.|\n)*{COMMAND} migrate"):
        cli.run(["user", "add", "eve", "--password-stdin"])


<% else %>
@pytest.mark.parametrize("action", ["disable", "enable", "sessions"])
def test_a_missing_account_is_named(folder: Path, action: str) -> None:
    """The error shows a mistyped number to the operator."""
    with pytest.raises(SystemExit, match="There is no account with the number 99"):
        cli.run(["user", action, "99"])


def test_a_database_without_tables_suggests_migrate(
    folder: Path, new_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command on a database without tables suggests `migrate`."""
    make_database(new_url)
    monkeypatch.setenv("DATABASE_URL", new_url)
    reason = "(no such table|does not exist)"
    with pytest.raises(SystemExit, match=f"{reason}(.|\n)*{COMMAND} migrate"):
        cli.run(["user", "list"])


<% endif %>
def test_a_new_secret_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    """The output of `secret new` is valid in COOKIE_SECRET, and different each time."""
    printed = set()
    for _ in range(3):
        cli.run(["secret", "new"])
        printed.add(capsys.readouterr().out.strip())
    assert len(printed) == 3
    for secret in printed:
        assert list(parse_cookie_secret(secret)) == [int(f"{date.today():%Y%m%d}")]


def test_the_secret_in_the_folder_is_rotated(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`secret rotate` takes one step each time; a step that comes too early can be forced."""
    for step in ("Step 1 of 3", "Step 2 of 3"):
        cli.run(["secret", "rotate"])
        assert capsys.readouterr().out.startswith(step)
    with pytest.raises(SystemExit, match="--drop-now"):
        cli.run(["secret", "rotate"])
    cli.run(["secret", "rotate", "--drop-now"])
    assert len(load_settings().cookie_secret) == 1


def test_the_secret_of_servers_is_rotated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--file` only that file changes, whatever the environment contains."""
    before = (folder / ".env").read_text()
    servers = folder / "production.env"
    servers.write_text(before)
    monkeypatch.setenv("COOKIE_SECRET", "1:x")
    cli.run(["secret", "rotate", "--file", str(servers)])
    assert capsys.readouterr().out.startswith("Step 1 of 3")
    assert servers.read_text().count(",") == 1
    assert (folder / ".env").read_text() == before


def test_a_secret_in_the_environment_is_not_rotated_in_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the environment sets the secret, a change of `.env` would have no effect."""
    before = (folder / ".env").read_text()
    monkeypatch.setenv("COOKIE_SECRET", "1:x")
    with pytest.raises(SystemExit, match="COOKIE_SECRET is set in the environment, which wins"):
        cli.run(["secret", "rotate"])
    assert (folder / ".env").read_text() == before


ERROR = Finding("X001", Severity.ERROR, "It is broken.", "Mend it.")
WARNING = Finding("X002", Severity.WARNING, "It is old.", "Replace it.")
UNCHECKED = Finding("X003", Severity.UNCHECKED, "It is away.", "Ask again.")


@pytest.mark.parametrize(
    ("ci", "findings", "code", "shown"),
    [
        ("", [], 0, "Nothing found.\n"),
        ("", [WARNING], 0, "WARNING X002: It is old.\n    Replace it.\n"),
        ("", [ERROR, WARNING], 1, f"{ERROR}\n{WARNING}\n"),
        ("", [UNCHECKED], 0, "UNCHECKED X003: It is away.\n    Ask again.\n"),
        ("true", [], 0, "Nothing found.\n"),
        ("true", [WARNING], 0, f"{WARNING}\n"),
        ("true", [WARNING, UNCHECKED], 3, f"{WARNING}\n{UNCHECKED}\n"),
        ("true", [UNCHECKED, ERROR], 1, f"{UNCHECKED}\n{ERROR}\n"),
        ("false", [UNCHECKED], 0, f"{UNCHECKED}\n"),
    ],
)
def test_check_prints_its_findings(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ci: str,
    findings: list[Finding],
    code: int,
    shown: str,
) -> None:
    """`check` exits with 1 for an error, in CI with 3 for what it could not check."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(checks, "check_local", lambda: findings)
    assert exit_code("check") == code
    assert capsys.readouterr().out == shown
    assert exit_code("check", "--json") == code
    assert json.loads(capsys.readouterr().out) == [asdict(finding) for finding in findings]


def test_check_tells_what_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With settings, `check` begins with the release, its commit and the digest of its lock."""
    monkeypatch.setattr(checks, "check_local", list)
    monkeypatch.setenv("RELEASE", "7")
    cli.run(["check"])
    said = capsys.readouterr().out
    assert said == "Release 7, commit unknown, lock unknown.\nNothing found.\n"


def test_a_site_is_checked_from_outside(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check --url` checks the site at that address, without settings."""

    async def check_site(url: str) -> list[Finding]:
        assert url == "https://example.com"
        return [ERROR]

    monkeypatch.setattr(checks, "check_site", check_site)
    assert exit_code("check", "--url", "https://example.com") == 1
    assert "X001" in capsys.readouterr().out
    monkeypatch.undo()
    with pytest.raises(SystemExit, match="is no address of a site"):
        cli.run(["check", "--url", "nonsense"])


def test_settings_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`settings` needs no settings, and prints the text of `.env.example`."""
    cli.run(["settings"])
    assert capsys.readouterr().out == env_example(Settings)
