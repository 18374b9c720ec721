<% set account = "name" if cookiecutter.sign_in == "passwords" else "number" %>
"""The command line: `<< cookiecutter.project_slug >> serve|migrate|backup|user|secret|...`."""

import argparse
import asyncio
import contextlib
import getpass
import json
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path

from . import COMMAND, DESCRIPTION, NAME
from .accounts import AccountError, Accounts, Client
from .accounts.security_log import log as security_log
from .app import open_app
from .database import DATABASE_ERRORS, Database, reason
from .operations.backup import BackupError, backup, restore
from .operations.rotation import rotate
from .runtime.listener import ServerError
from .runtime.logs import JsonFormatter, configure_logs
from .runtime.provenance import provenance
from .runtime.server import serve
from .runtime.settings import SettingsError, env_example, in_ci, new_secret
from .settings import Settings, load_settings

<% if cookiecutter.database == "sqlite" %>
REMEDY = f"Check DATABASE_URL. If the tables are missing, create them: {COMMAND} migrate"
<% else %>
REMEDY = (
    f"Check DATABASE_URL. If the tables are missing, create them: {COMMAND} migrate\n"
    "No server yet? sudo apt-get install postgresql && sudo -u postgres createuser --createdb $USER"
)
<% endif %>

# Exit status of `check` in a pipeline: no errors, but not everything could be checked.
UNCHECKED = 3


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command, `serve` by default. Exits with 1 and a reason if the command fails."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help")):
        given.insert(0, "serve")
    options = parser().parse_args(given)
    try:
        options.command(options)
    except (AccountError, BackupError, ServerError, SettingsError) as error:
        sys.exit(str(error))
    except DATABASE_ERRORS as error:
        sys.exit(f"The database cannot be used: {reason(error)}\n{REMEDY}")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    about = f"{NAME}: {DESCRIPTION}".replace("%", "%%")
    main = argparse.ArgumentParser(prog=COMMAND, description=about)
    commands = main.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = commands.add_parser("serve", help="serve until SIGTERM or SIGINT (the default)")
    command.add_argument("--host", help="address to listen on")
    command.add_argument("--port", type=int, help="port to listen on")
    command.add_argument("--debug", action="store_const", const=True, help="development mode")
    command.add_argument("--reuse-port", action="store_true", help="share the port with copies")
    command.add_argument(
        "--fork", type=int, metavar="N", help="run N processes on the port; 0: one a processor"
    )
    command.set_defaults(command=run_serve)

    command = commands.add_parser("migrate", help="bring the database to the newest schema")
    command.add_argument("--new", metavar="MESSAGE", help="write a migration for changed tables")
    command.set_defaults(command=run_migrate)

    command = commands.add_parser("backup", help="copy the database into a file")
    command.add_argument("file", type=Path)
    command.set_defaults(command=run_backup)

    command = commands.add_parser("restore", help="replace the database by the copy in a file")
    command.add_argument("file", type=Path)
    command.add_argument("--yes", action="store_true", help="do not ask whether to do that")
    command.set_defaults(command=run_restore)

    command = commands.add_parser("export", help="write all rows for another kind of database")
    command.add_argument("file", type=Path)
    command.set_defaults(command=run_export)

    command = commands.add_parser("import", help="read such rows into an empty database")
    command.add_argument("file", type=Path)
    command.set_defaults(command=run_import)

    user = commands.add_parser("user", help="manage accounts")
    actions = user.add_subparsers(metavar="ACTION", required=True)
    command = actions.add_parser("list", help="list the accounts")
    command.set_defaults(command=run_user_list)
<% if cookiecutter.sign_in == "passwords" %>
    for action, run_action, help_text in (
        ("add", run_user_add, "make an account"),
        ("password", run_user_password, "set a new password and end all sessions"),
    ):
        command = actions.add_parser(action, help=help_text)
        command.add_argument("name")
        command.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input"
        )
        command.set_defaults(command=run_action)
<% endif %>
    command = actions.add_parser("disable", help="end all sessions and refuse logins")
    command.add_argument("<< account >>"<< ', type=int, help="its number in `user list`"' if cookiecutter.sign_in == "sso" >>)
    command.set_defaults(command=run_user_disable)
    command = actions.add_parser("enable", help="allow logins to a disabled account again")
    command.add_argument("<< account >>"<< ', type=int, help="its number in `user list`"' if cookiecutter.sign_in == "sso" >>)
    command.set_defaults(command=run_user_enable)
    command = actions.add_parser("sessions", help="list the sessions of an account")
    command.add_argument("<< account >>"<< ', type=int, help="its number in `user list`"' if cookiecutter.sign_in == "sso" >>)
    command.add_argument("--end", action="store_true", help="end them all instead")
    command.set_defaults(command=run_user_sessions)
<% if cookiecutter.sign_in == "passwords" %>

    attempts = commands.add_parser("attempts", help="manage failed attempts to sign in")
    command = attempts.add_subparsers(metavar="ACTION", required=True).add_parser(
        "clear", help="clear them, and end the waiting time"
    )
    command.add_argument("name", nargs="?", help="of this account only")
    command.set_defaults(command=run_attempts_clear)
<% endif %>

    secret = commands.add_parser("secret", help="manage the cookie secret")
    actions = secret.add_subparsers(metavar="ACTION", required=True)
    command = actions.add_parser("new", help="print a new secret")
    command.set_defaults(command=lambda _: print(f"{date.today():%Y%m%d}:{new_secret()}"))
    command = actions.add_parser("rotate", help="replace the secret in .env, step by step")
    command.add_argument(
        "--file",
        type=Path,
        default=Path(".env"),
        help="<< "the containers' secret instead: deploy/secrets/cookie_secret" if cookiecutter.__containers else "the servers' settings instead: deploy/inventory/production.env" >>",
    )
    command.add_argument(
        "--drop-now", action="store_true", help="drop the old secret before its cookies expire"
    )
    command.set_defaults(command=run_secret_rotate)

    command = commands.add_parser("check", help="report what is unsafe here, or on a site")
    command.add_argument("--url", help="check the site at this address instead")
    command.add_argument("--json", action="store_true", help="answer in JSON")
    command.set_defaults(command=run_check)

    command = commands.add_parser("settings", help="print every setting, as for .env")
    command.set_defaults(command=lambda _: print(env_example(Settings), end=""))
    return main


def run_serve(options: argparse.Namespace) -> None:
    settings = load_settings(host=options.host, port=options.port, debug=options.debug)
    configure_logs(settings.log_level, readable=settings.debug)
    serve(settings, open_app, reuse_port=options.reuse_port, processes=options.fork)


def run_migrate(options: argparse.Namespace) -> None:
    # Imported here, as the checks are below: without Alembic `serve` starts sooner.
    from .migrations import migrate, write_migration

    url = load_settings().database_url
    asyncio.run(write_migration(url, options.new) if options.new else migrate(url))


def run_backup(options: argparse.Namespace) -> None:
    make_backup(options.file)
    print(f"Copied the database into {options.file}.")


def make_backup(file: Path) -> None:
<% if cookiecutter.database == "postgresql" %>
    settings = load_settings()
    backup(settings.backup_database_url or settings.database_url, file)
<% else %>
    backup(load_settings().database_url, file)
<% endif %>


def run_restore(options: argparse.Namespace) -> None:
    if not options.yes and not sys.stdin.isatty():
        sys.exit("`restore` replaces all data, and there is no terminal to ask at. Add --yes.")
    kept = options.file.with_name(f"replaced-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
    try:
        make_backup(kept)
        copied = f"What is in the database now is copied into {kept}."
    except BackupError as problem:
        # It may be what the restore is to repair; that takes a person to decide.
        if options.yes:
            raise
        copied = f"What is in the database now cannot be copied: {problem}"
    print(copied)
    if not options.yes:
        answer = input(f"Replace all of it by {options.file}? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            kept.unlink(missing_ok=True)
            sys.exit("Nothing has changed.")
    restore(load_settings().database_url, options.file)
    print(f"The database is as it was when {options.file} was made.")


def run_export(options: argparse.Namespace) -> None:
    from .operations.transfer import export_rows

    transfer(export_rows, options.file)
    print(f"{options.file} holds these rows.")


def run_import(options: argparse.Namespace) -> None:
    from .operations.transfer import import_rows

    transfer(import_rows, options.file)
    print("The database holds these rows: they were read again and compared with the file.")


def transfer(
    work: Callable[[str, Path], Coroutine[None, None, dict[str, int]]], file: Path
) -> None:
    """Export or import; print the number of rows in each table."""
    from .operations.transfer import TransferError

    try:
        rows = asyncio.run(work(load_settings().database_url, file))
    except TransferError as error:
        sys.exit(str(error))
    for table, number in rows.items():
        print(f"{number:>9} {table}")


def run_check(options: argparse.Namespace) -> None:
    from .operations.checks import Severity, SiteError, check_local, check_site

    try:
        findings = asyncio.run(check_site(options.url)) if options.url else check_local()
    except SiteError as error:
        sys.exit(str(error))
    if not options.url and not options.json:
        show_what_runs()
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(map(str, findings)) or "Nothing found.")
    severities = {finding.severity for finding in findings}
    if Severity.ERROR in severities:
        sys.exit(1)
    # The output of a passing pipeline goes unread.
    if Severity.UNCHECKED in severities and in_ci():
        sys.exit(UNCHECKED)


def show_what_runs() -> None:
    # Wrong settings are a finding.
    with contextlib.suppress(SettingsError):
        runs = provenance(load_settings().release)
        print(f"Release {runs['release']}, commit {runs['commit']}, lock {runs['lock']}.")


def run_secret_rotate(options: argparse.Namespace) -> None:
    print(rotate(options.file, date.today(), drop_now=options.drop_now))


def run_user_list(_: argparse.Namespace) -> None:
    async def show(accounts: Accounts) -> None:
        for user in await accounts.users.all():
            state = f"disabled {user.disabled_at:%Y-%m-%d}" if user.disabled_at else ""
<% if cookiecutter.sign_in == "passwords" %>
            print(f"{user.name:<24} made {user.created_at:%Y-%m-%d}  {state}".rstrip())
<% else %>
            made = f"made {user.created_at:%Y-%m-%d}"
            print(f"{user.id:>6} {user.name:<24} {user.email:<32} {made}  {state}".rstrip())
<% endif %>

    with_accounts(show)


<% if cookiecutter.sign_in == "passwords" %>
def run_user_add(options: argparse.Namespace) -> None:
    load_settings()
    password = new_password(options)
    with_accounts(lambda accounts: accounts.add_user(options.name, password, operator()))
    print(f"Made the account {options.name}.")


def run_user_password(options: argparse.Namespace) -> None:
    load_settings()
    password = new_password(options)
    with_accounts(lambda accounts: accounts.reset_password(options.name, password, operator()))
    print(f"The account {options.name} has the new password; its sessions have ended.")


<% endif %>
def run_user_disable(options: argparse.Namespace) -> None:
    with_accounts(lambda accounts: accounts.disable(options.<< account >>, operator()))
    print(f"The account {options.<< account >>} is disabled; its sessions have ended.")


def run_user_enable(options: argparse.Namespace) -> None:
    with_accounts(lambda accounts: accounts.enable(options.<< account >>, operator()))
    print(f"The account {options.<< account >>} is enabled.")


def run_user_sessions(options: argparse.Namespace) -> None:
    async def show(accounts: Accounts) -> None:
        user = await accounts.users.expect(options.<< account >>)
        page, more = 0, True
        while more:
            page += 1
            sessions, more = await accounts.sessions.page(user.id, page)
            for session in sessions:
                print(f"{session.seen_at:%Y-%m-%d %H:%M} {session.address} {session.user_agent!a}")

    async def end(accounts: Accounts) -> None:
        ended = await accounts.end_sessions(options.<< account >>, operator())
        print(f"Ended {ended} sessions of the account {options.<< account >>}.")

    with_accounts(end if options.end else show)


<% if cookiecutter.sign_in == "passwords" %>
def run_attempts_clear(options: argparse.Namespace) -> None:
    with_accounts(lambda accounts: accounts.clear_attempts(options.name, operator()))
    print(f"Cleared the failed attempts on {options.name or 'all accounts'}.")


<% endif %>
def operator() -> Client:
    """Return the operating system's user as the client, for the security log."""
    return Client(address=f"{getpass.getuser()} on {socket.gethostname()}")


<% if cookiecutter.sign_in == "passwords" %>
def new_password(options: argparse.Namespace) -> str:
    """Read a new password. Raises AccountError if it is mistyped or not UTF-8."""
    if not options.password_stdin:
        password = getpass.getpass("Password (12 characters or more): ")
        if getpass.getpass("The same again: ") != password:
            raise AccountError("The two passwords differ.")
        return password
    line = sys.stdin.buffer.readline()
    try:
        return line.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise AccountError("The password is not UTF-8. Convert it, and send it again.") from None


<% endif %>
def with_accounts(work: Callable[[Accounts], Awaitable[None]]) -> None:
    """Run this work with the accounts of the configured database."""
    url = load_settings().database_url
    # The result goes to standard output, the security log to standard error.
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())

    async def run() -> None:
        database = Database(url)
        accounts = Accounts(database)
        try:
            await work(accounts)
        finally:
#% if cookiecutter.sign_in == "passwords"
            accounts.close()
#% endif
            await database.close()

    security_log.addHandler(handler)
    try:
        asyncio.run(run())
    finally:
        security_log.removeHandler(handler)
