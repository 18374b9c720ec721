#% set moment = "sa.DateTime()" if cookiecutter.database == "sqlite" else "sa.DateTime(timezone=True)"
"""Accounts can be disabled<< "; open attempts are distinct from failed ones" if cookiecutter.sign_in == "passwords" >>.

It only adds columns: the previous release still works with it.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    op.add_column("users", sa.Column("disabled_at", << moment >>, nullable=True))
<% if cookiecutter.sign_in == "passwords" %>
    op.add_column(
        "attempts", sa.Column("is_open", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
<% endif %>


def downgrade() -> None:
#% if cookiecutter.sign_in == "passwords"
    op.drop_column("attempts", "is_open")
#% endif
    op.drop_column("users", "disabled_at")
