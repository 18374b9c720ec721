"""The command line: `<< cookiecutter.project_slug >> serve|migrate|backup|user|secret|...`."""

import argparse
import asyncio
import getpass
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

from . import COMMAND, DESCRIPTION, NAME
from .accounts import AccountError, Accounts
from .database import DATABASE_ERRORS, Database, reason
from .operations.backup import BackupError, backup, restore
from .operations.rotation import rotate
from .runtime.listener import ServerError
from .runtime.logs import configure_logs
from .runtime.server import serve
from .settings import (
    SettingsError,
    env_example,
    load_settings,
    new_secret,
    secret_is_in_environment,
)

<% if cookiecutter.database == "sqlite" %>
REMEDY = f"Check DATABASE_URL; if there are no tables yet, make them: {COMMAND} migrate"
<% else %>
REMEDY = (
    f"Check DATABASE_URL; if there are no tables yet, make them: {COMMAND} migrate\n"
    "No server yet? sudo apt-get install postgresql && sudo -u postgres createuser --createdb $USER"
)
<% endif %>


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command, `serve` if none is named. Exits with 1 and a reason if it cannot be done."""
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

    command = commands.add_parser("serve", help="serve until told to stop (the default)")
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
    command.set_defaults(command=run_restore)

    user = commands.add_parser("user", help="manage accounts")
    command = user.add_subparsers(metavar="ACTION", required=True).add_parser(
        "add", help="make an account"
    )
    command.add_argument("name")
    command.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )
    command.set_defaults(command=run_user_add)

    secret = commands.add_parser("secret", help="manage the cookie secret")
    actions = secret.add_subparsers(metavar="ACTION", required=True)
    command = actions.add_parser("new", help="print a new secret")
    command.set_defaults(command=lambda _: print(f"{date.today():%Y%m%d}:{new_secret()}"))
    command = actions.add_parser("rotate", help="replace the secret in .env, a step at a time")
    command.add_argument(
        "--file", type=Path, help="the servers' settings instead: deploy/inventory/production.env"
    )
    command.add_argument(
        "--drop-now", action="store_true", help="drop the old secret before its cookies expire"
    )
    command.set_defaults(command=run_secret_rotate)

    command = commands.add_parser("check", help="tell what is unsafe here, or about a site")
    command.add_argument("--url", help="check the site at this address instead")
    command.add_argument("--json", action="store_true", help="answer in JSON")
    command.set_defaults(command=run_check)

    command = commands.add_parser("settings", help="print every setting, as for .env")
    command.set_defaults(command=lambda _: print(env_example(), end=""))
    return main


def run_serve(options: argparse.Namespace) -> None:
    settings = load_settings(host=options.host, port=options.port, debug=options.debug)
    configure_logs(settings.log_level, readable=settings.debug)
    serve(settings, reuse_port=options.reuse_port, processes=options.fork)


def run_migrate(options: argparse.Namespace) -> None:
    # A process that serves starts sooner without Alembic; so it does without the checks, below.
    from .migrations import migrate, write_migration

    url = load_settings().database_url
    asyncio.run(write_migration(url, options.new) if options.new else migrate(url))


def run_backup(options: argparse.Namespace) -> None:
    backup(load_settings().database_url, options.file)
    print(f"Copied the database into {options.file}.")


def run_restore(options: argparse.Namespace) -> None:
    restore(load_settings().database_url, options.file)
    print(f"The database is as it was when {options.file} was made.")


def run_check(options: argparse.Namespace) -> None:
    from .operations.checks import Severity, SiteError, check_local, check_site

    try:
        findings = asyncio.run(check_site(options.url)) if options.url else check_local()
    except SiteError as error:
        sys.exit(str(error))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(map(str, findings)) or "Nothing found.")
    if any(finding.severity is Severity.ERROR for finding in findings):
        sys.exit(1)


def run_secret_rotate(options: argparse.Namespace) -> None:
    if options.file is None and secret_is_in_environment():
        raise SettingsError(
            "COOKIE_SECRET is set in the environment, which wins over .env. Rotate it there: add"
            " NEW behind OLD, then put it in front, then drop OLD; restart after each step."
        )
    file = options.file or Path(".env")
    print(rotate(file.resolve(), date.today(), drop_now=options.drop_now))


def run_user_add(options: argparse.Namespace) -> None:
    settings = load_settings()
    if options.password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = getpass.getpass("Password (12 characters or more): ")
        if getpass.getpass("The same again: ") != password:
            raise AccountError("The two passwords differ.")

    async def add() -> None:
        database = Database(settings.database_url)
        accounts = Accounts(database)
        try:
            await accounts.add_user(options.name, password)
        finally:
            accounts.close()
            await database.close()

    asyncio.run(add())
    print(f"Made the account {options.name}.")
