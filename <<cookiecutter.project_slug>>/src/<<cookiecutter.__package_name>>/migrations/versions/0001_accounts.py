#% set moment = "sa.DateTime()" if cookiecutter.database == "sqlite" else "sa.DateTime(timezone=True)"
"""Users<< ", their sessions, and failed attempts to sign in" if cookiecutter.sign_in == "passwords" else " and their sessions" >>."""

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), primary_key=True),
#% if cookiecutter.sign_in == "passwords"
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("password_hash", sa.String(255), nullable=False),
#% else
        sa.Column("issuer", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
#% endif
        sa.Column("created_at", << moment >>, nullable=False),
#% if cookiecutter.sign_in == "sso"
        sa.UniqueConstraint("issuer", "subject"),
#% endif
#% if cookiecutter.database == "sqlite"
        sqlite_autoincrement=True,
#% endif
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("token_digest", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column(
            "user_id",
            sa.Integer(),
            sa.ForeignKey("users.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("created_at", << moment >>, nullable=False),
        sa.Column("seen_at", << moment >>, nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        sa.Column("user_agent", sa.String(255), nullable=False),
#% if cookiecutter.sign_in == "sso"
        sa.Column("id_token", sa.Text(), nullable=False),
#% endif
#% if cookiecutter.database == "sqlite"
        sqlite_autoincrement=True,
#% endif
    )
<% if cookiecutter.sign_in == "passwords" %>
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("subject", sa.String(80), nullable=False, index=True),
        sa.Column("at", << moment >>, nullable=False, index=True),
    )
<% endif %>


def downgrade() -> None:
#% if cookiecutter.sign_in == "passwords"
    op.drop_table("attempts")
#% endif
    op.drop_table("sessions")
    op.drop_table("users")
