"""The tables of the accounts."""

from datetime import datetime

#% if cookiecutter.sign_in == "passwords"
from sqlalchemy import ForeignKey, LargeBinary, String, false
#% else
from sqlalchemy import ForeignKey, LargeBinary, String, Text, UniqueConstraint
#% endif
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base

<% if cookiecutter.database == "sqlite" %>
# Otherwise SQLite reuses the id of an ended session.
NO_ID_TWICE = {"sqlite_autoincrement": True}

<% endif %>

class User(Base):
    """A user with an account."""

    __tablename__ = "users"
#% if cookiecutter.sign_in == "sso"
    __table_args__ = (UniqueConstraint("issuer", "subject")<< ', NO_ID_TWICE' if cookiecutter.database == "sqlite" else ',' >>)
#% elif cookiecutter.database == "sqlite"
    __table_args__ = NO_ID_TWICE
#% endif

    id: Mapped[int] = mapped_column(primary_key=True)
#% if cookiecutter.sign_in == "passwords"
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
#% else
    issuer: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(64))
    email: Mapped[str] = mapped_column(String(254))
#% endif
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class Session(Base):
    """One signed-in browser. The browser holds the token; only its digest is stored here."""

    __tablename__ = "sessions"
#% if cookiecutter.database == "sqlite"
    __table_args__ = NO_ID_TWICE
#% endif

    id: Mapped[int] = mapped_column(primary_key=True)
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    address: Mapped[str] = mapped_column(String(45))
    user_agent: Mapped[str] = mapped_column(String(255))
<% if cookiecutter.sign_in == "sso" %>
    # The provider takes it when the user signs out.
    id_token: Mapped[str] = mapped_column(Text)
<% endif %>
<% if cookiecutter.sign_in == "passwords" %>


class Attempt(Base):
    """A password attempt that has failed, or whose outcome is open."""

    __tablename__ = "attempts"

    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(String(80), index=True)
    at: Mapped[datetime] = mapped_column(index=True)
    is_open: Mapped[bool] = mapped_column(server_default=false())
<% endif %>
