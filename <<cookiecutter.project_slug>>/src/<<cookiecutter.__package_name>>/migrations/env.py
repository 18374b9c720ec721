"""Run by Alembic, on the connection that `migrate` provides."""

<% if cookiecutter.database == "sqlite" %>
from typing import Literal

<% endif %>
from alembic import context

import << cookiecutter.__package_name >>.accounts.tables  # noqa: F401
from << cookiecutter.__package_name >>.database import Base
<% if cookiecutter.database == "sqlite" %>
from << cookiecutter.__package_name >>.engine import MOMENT


def render_item(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write a moment's column into a migration as its type in the database."""
    return "sa.DateTime()" if kind == "type" and isinstance(item, type(MOMENT)) else False

<% endif %>

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
<% if cookiecutter.database == "sqlite" %>
    # SQLite cannot alter a column: Alembic copies the table instead.
    render_as_batch=True,
    render_item=render_item,
<% endif %>
)
with context.begin_transaction():
    context.run_migrations()
