# Part of the template: you need not edit this file.
"""All rows of the database as lines of JSON, and the way back: the move to another database."""

import base64
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

from alembic.util import CommandError
from sqlalchemy import << "func, insert, select, text" if cookiecutter.database == "postgresql" else "insert, select" >>
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from .. import COMMAND
from ..database import DATABASE_ERRORS, Base, Database, reason
from ..migrations import check_migrations

# What JSON has no form for: a type, its word in the file, the way there, the way back. A moment is
# a date to Python, so it comes first.
KINDS: list[tuple[type, str, Callable[[Any], Any], Callable[[Any], Any]]] = [
    (bytes, "bytes", lambda value: base64.b64encode(value).decode(), base64.b64decode),
    (
        datetime,
        "moment",
        lambda value: (value.astimezone(UTC) if value.tzinfo else value).isoformat(),
        datetime.fromisoformat,
    ),
    (date, "date", date.isoformat, date.fromisoformat),
    (time, "time", time.isoformat, time.fromisoformat),
    (
        timedelta,
        "duration",
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: timedelta(*parts),
    ),
    (Decimal, "decimal", str, Decimal),
    (UUID, "uuid", str, UUID),
    (dict, "json", dict, dict),
    (list, "json list", list, list),
]
READERS = {word: read for _, word, _, read in KINDS}
ROWS_AT_A_TIME = 1000


class TransferError(Exception):
    """The rows could not be moved, and nothing has changed; the message says why."""


class Digest:
    """The number of rows in each table, and a digest of them in any order.

    Databases sort text in different ways.
    """

    def __init__(self) -> None:
        self.rows = Counter({table.name: 0 for table in Base.metadata.sorted_tables})
        self.sum = 0

    def add(self, table: str, line: str) -> None:
        self.rows[table] += 1
        self.sum += int.from_bytes(hashlib.sha256(line.encode()).digest())


async def export_rows(url: str, file: Path) -> dict[str, int]:
    """Write all rows of the database at this URL into a private file; return their number by table.

    Nobody else writes to the database meanwhile. Raises TransferError.
    """
    await check_tables(url)
    database = Database(url)
    new = file.with_name(file.name + ".new")
    try:
        new.unlink(missing_ok=True)
        private = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(private, "w", encoding="utf-8") as lines:
            async with database.lock("transfer") as transaction:
                connection = await transaction.connection()
#% if cookiecutter.database == "postgresql"
                await refuse_writers(connection)
#% endif
                digest = await read_rows(connection, lambda line: print(line, file=lines))
            # A file that was cut off lacks this line.
            print(json.dumps(digest.rows), file=lines)
        new.replace(file)
    except OSError as error:
        raise TransferError(f"Cannot write {file}: {error.strerror}.") from None
    finally:
        new.unlink(missing_ok=True)
        await database.close()
    return digest.rows


async def import_rows(url: str, file: Path) -> dict[str, int]:
    """Write the rows of such a file into the database at this URL; return their number by table.

    The database has the tables and no rows. One transaction writes all rows, reads them again, and
    commits if they are those of the file. Raises TransferError.
    """
    await check_tables(url)
    database = Database(url)
    try:
        with file.open(encoding="utf-8") as lines:
            async with database.lock("transfer") as transaction:
                connection = await transaction.connection()
#% if cookiecutter.database == "postgresql"
                await refuse_writers(connection)
#% endif
                written = await write_rows(connection, lines)
                read = await read_rows(connection, lambda line: None)
                if (read.rows, read.sum) != (written.rows, written.sum):
                    raise TransferError("The rows read back are not those of the file; none stay.")
#% if cookiecutter.database == "postgresql"
                await advance_sequences(connection)
#% endif
    except OSError as error:
        raise TransferError(f"Cannot read {file}: {error.strerror}.") from None
    except DBAPIError as error:
        if isinstance(error, DATABASE_ERRORS):
            raise
        raise TransferError(f"The database refuses a row, so none stay: {reason(error)}.") from None
    finally:
        await database.close()
    return written.rows


async def check_tables(url: str) -> None:
    """Raise TransferError unless the tables of the database are those of the code."""
    try:
        await check_migrations(url)
    except CommandError as error:
        raise TransferError(
            f"The tables of the database are not those of this release: {error} "
            f"Create or update them: {COMMAND} migrate"
        ) from None


#% if cookiecutter.database == "postgresql"
async def refuse_writers(connection: AsyncConnection) -> None:
    """Let nobody else write until the transaction ends."""
    format_table = connection.dialect.identifier_preparer.format_table
    for table in Base.metadata.sorted_tables:
        await connection.execute(text(f"LOCK TABLE {format_table(table)} IN EXCLUSIVE MODE"))


async def advance_sequences(connection: AsyncConnection) -> None:
    """Let each table number its next row after the highest that it has."""
    format_table = connection.dialect.identifier_preparer.format_table
    for table in Base.metadata.sorted_tables:
        if (column := table.autoincrement_column) is not None:
            sequence = func.pg_get_serial_sequence(format_table(table), column.name)
            await connection.execute(select(func.setval(sequence, func.max(column))))


#% endif
async def read_rows(connection: AsyncConnection, see: Callable[[str], object]) -> Digest:
    """Show each row as a line of JSON; return the digest of all."""
    digest = Digest()
    for table in Base.metadata.sorted_tables:
        async with connection.stream(select(table)) as rows:
            async for row in rows:
                values = {name: to_json(value) for name, value in row._asdict().items()}
                line = json.dumps([table.name, values], sort_keys=True)
                digest.add(table.name, line)
                see(line)
    return digest


async def write_rows(connection: AsyncConnection, lines: Iterable[str]) -> Digest:
    """Write rows into empty tables; return their digest. Raises TransferError."""
    tables = {table.name: table for table in Base.metadata.sorted_tables}
    for table in tables.values():
        if (await connection.execute(select(table).limit(1))).first():
            raise TransferError(f"The table {table.name} has rows already. Use a new database.")
    digest = Digest()
    promised = None
    batch: list[dict[str, Any]] = []
    filling = ""
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
            if isinstance(content, dict):
                promised = content
                break
            name, values = content
            row = {column: from_json(value) for column, value in values.items()}
            if row.keys() != set(tables[name].columns.keys()):
                raise ValueError(f"the columns of {name} are other ones")
        except (KeyError, TypeError, ValueError) as error:
            raise TransferError(
                f"Line {number} of the file is no row of this release: {error}."
            ) from None
        if batch and (name != filling or len(batch) == ROWS_AT_A_TIME):
            await connection.execute(insert(tables[filling]), batch)
            batch = []
        filling = name
        batch.append(row)
        digest.add(name, line.rstrip("\n"))
    if batch:
        await connection.execute(insert(tables[filling]), batch)
    if promised != digest.rows:
        raise TransferError("The file was cut off: its last line counts other rows. Copy it again.")
    return digest


def to_json(value: object) -> object:
    """Return what stands for a value in the file. Raises TransferError for an unknown type."""
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool | int | float | str):
        return value
    for kind, word, write, _ in KINDS:
        if isinstance(value, kind):
            return {word: write(value)}
    raise TransferError(f"No form for the type {type(value).__name__}. Add it to KINDS.")


def from_json(content: object) -> object:
    """Return the value for which this stands in the file. Raises KeyError or ValueError."""
    if not isinstance(content, dict):
        return content
    ((word, form),) = content.items()
    return READERS[word](form)
