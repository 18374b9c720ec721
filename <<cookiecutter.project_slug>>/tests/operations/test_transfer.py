"""The export of all rows, and the import into an empty database."""

import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import delete, select, text

from << cookiecutter.__package_name >> import cli
from << cookiecutter.__package_name >>.accounts import Accounts<< ", Client" if cookiecutter.sign_in == "passwords" >>
from << cookiecutter.__package_name >>.accounts.tables import Session, User
from << cookiecutter.__package_name >>.database import Database
from << cookiecutter.__package_name >>.migrations import migrate
from << cookiecutter.__package_name >>.operations.transfer import (
    TransferError,
    export_rows,
    from_json,
    import_rows,
    to_json,
)
from << cookiecutter.__package_name >>.settings import load_settings

<% if cookiecutter.sign_in == "passwords" %>
from ..browser import PASSWORD
<% else %>
from ..accounts.people import sign_in
from ..conftest import EVERYBODY
<% endif %>

# They have the database change a row that it gets.
#% if cookiecutter.database == "postgresql"
CHANGE_NAMES = (
    "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN NEW.name = upper(NEW.name); RETURN NEW; END $$",
    "CREATE TRIGGER shout BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION shout()",
)


#% else
CHANGE_NAMES = (
    "CREATE TRIGGER shout AFTER INSERT ON users "
    "BEGIN UPDATE users SET name = upper(name) WHERE id = NEW.id; END",
)


#% endif

@pytest.fixture
async def empty(new_url: str) -> AsyncIterator[Database]:
    """A database with tables and no rows, at `new_url`."""
    await migrate(new_url)
    database = Database(new_url)
    yield database
    await database.close()


async def everything(database: Database) -> list[tuple[object, ...]]:
    async with database.transaction() as transaction:
        return [
            tuple(row)
            for table in (User.__table__, Session.__table__)
            for row in await transaction.execute(select(table).order_by(table.c.id))
        ]


async def test_all_rows_move(
    accounts: Accounts, database: Database, empty: Database, new_url: str, folder: Path
) -> None:
    """The other database holds the same rows, sessions included, and numbers new ones after them."""
#% if cookiecutter.sign_in == "passwords"
    await accounts.sign_in("ada", PASSWORD, Client("::1", "a browser"))
#% else
    await sign_in(accounts, "eva")
#% endif
    file = folder / "rows"
    exported = await export_rows(load_settings().database_url, file)
    # Tables of your own may be there as well.
    assert exported.items() >= {"users": << 2 if cookiecutter.sign_in == "passwords" else 3 >>, "sessions": 1}.items()
    assert file.stat().st_mode & 0o777 == 0o600
    assert await import_rows(new_url, file) == exported
    assert await everything(empty) == await everything(database)
<% if cookiecutter.sign_in == "passwords" %>
    there = Accounts(empty)
    await there.add_user("eve", PASSWORD, Client("test"))
    there.close()
    assert (await everything(empty))[2][:2] == (3, "eve")
<% else %>
    await sign_in(Accounts(empty, EVERYBODY), "eve")
    assert (await everything(empty))[3][0] == 4
<% endif %>


async def test_a_database_with_rows_is_refused(database: Database, folder: Path) -> None:
    """Rows are imported into empty tables only; those that are there stay."""
    before = await everything(database)
    url, file = load_settings().database_url, folder / "rows"
    await export_rows(url, file)
    with pytest.raises(TransferError, match="The table users has rows already"):
        await import_rows(url, file)
    assert await everything(database) == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
#% if cookiecutter.sign_in == "passwords"
        ('{"attempts"', '{"attempt"', "was cut off"),
#% else
        ('"users": ', '"user": ', "was cut off"),
#% endif
        ('["users", {', "", "Line 1 of the file is no row"),
        ('"name": "ada"', '"nick": "ada"', "columns of users are other ones"),
#% if cookiecutter.sign_in == "passwords"
        ('"name": "ada"', '"name": "bob"', "refuses a row"),
#% else
        ('"subject": "ada"', '"subject": "bob"', "refuses a row"),
#% endif
        ('{"moment":', '{"instant":', "is no row of this release: 'instant'"),
    ],
)
async def test_a_wrong_file_changes_nothing(
    old: str, new: str, words: str, empty: Database, new_url: str, folder: Path
) -> None:
    """A file that is cut off, damaged, of another release, or refused leaves the database empty."""
    file = folder / "rows"
    await export_rows(load_settings().database_url, file)
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(TransferError, match=words):
        await import_rows(new_url, file)
    assert await everything(empty) == []


async def test_other_rows_than_those_of_the_file_are_not_kept(
    empty: Database, new_url: str, folder: Path
) -> None:
    """The rows are read again and compared: a database that changes one of them keeps none."""
    file = folder / "rows"
    await export_rows(load_settings().database_url, file)
    async with empty.transaction() as transaction:
        for statement in CHANGE_NAMES:
            await transaction.execute(text(statement))
    with pytest.raises(TransferError, match="not those of the file"):
        await import_rows(new_url, file)
    assert await everything(empty) == []


async def test_a_database_without_tables_is_refused(
    database: Database, new_url: str, folder: Path
) -> None:
    """The message names the command that makes the tables of this release."""
    async with database.transaction() as transaction:
        await transaction.execute(delete(User))
        await transaction.execute(text("DELETE FROM alembic_version"))
    with pytest.raises(TransferError, match="migrate"):
        await export_rows(load_settings().database_url, folder / "rows")
    assert os.listdir(folder) == [".env"]  # noqa: PTH208 - it may block here


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 7, 0.1, "text", b"\0\xff", Decimal("1.10"), UUID(int=7)),
        *(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(2026, 1, 2), date(2026, 1, 2)),
        *(time(1, 2, 3, 4), timedelta(days=-1, microseconds=1), {"bytes": [1]}, [{"a": None}]),
    ],
    ids=repr,
)
def test_every_value_comes_back(value: object) -> None:
    """A value that was written as JSON and read again is equal to itself, and of its type."""
    read = from_json(json.loads(json.dumps(to_json(value))))
    assert (type(read), read) == (type(value), value)


def test_export_and_import_are_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`export FILE` and `import FILE` count the rows, or say in one line why they did nothing."""
    cli.run(["export", "rows"])
    *counts, last = capsys.readouterr().out.splitlines()
    assert {"        2 users", "        0 sessions"} <= set(counts)
    assert last == "rows holds these rows."
    for file, words in (("rows", "has rows already"), ("missing", "Cannot read missing")):
        with pytest.raises(SystemExit, match=words):
            cli.run(["import", file])
