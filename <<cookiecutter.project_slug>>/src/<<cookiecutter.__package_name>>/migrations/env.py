"""Run by Alembic; it works on the connection that `migrate` hands over."""

from alembic import context

import << cookiecutter.__package_name >>.accounts.tables  # noqa: F401
from << cookiecutter.__package_name >>.database import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite cannot alter a column: Alembic copies the table instead.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
