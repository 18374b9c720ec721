"""Helpers of the accounts' tests."""

#% if cookiecutter.sign_in == "sso"
from typing import Any

#% endif
from sqlalchemy import func, select

#% if cookiecutter.sign_in == "passwords"
from << cookiecutter.__package_name >>.accounts import Accounts, Client, CurrentUser
#% else
from << cookiecutter.__package_name >>.accounts import Accounts, Client, CurrentUser, Identity
#% endif
from << cookiecutter.__package_name >>.accounts.tables import Session
from << cookiecutter.__package_name >>.database import Database
<% if cookiecutter.sign_in == "passwords" %>

from ..browser import PASSWORD
<% endif %>

CLIENT = Client("192.0.2.1", "Test/1", "0" * 32)
<% if cookiecutter.sign_in == "sso" %>
ISSUER = "https://login.example.com"


def identity(name: str, **more: Any) -> Identity:
    """What the provider says of a user."""
    usual = {"issuer": ISSUER, "subject": name, "name": name, "email": f"{name}@example.com"}
    return Identity(**usual | more)


async def sign_in(
    accounts: Accounts, name: str, client: Client = CLIENT, replaced: int | None = None
) -> str:
    """Sign in an identity of this name; return the token of the session."""
    return await accounts.sign_in(identity(name), f"token of {name}", client, replaced)
<% endif %>


async def signed_in(accounts: Accounts, name: str = "ada") -> tuple[str, CurrentUser]:
    """Sign in; return the token and its user."""
#% if cookiecutter.sign_in == "passwords"
    token = await accounts.sign_in(name, PASSWORD, CLIENT)
    assert token is not None
#% else
    token = await sign_in(accounts, name)
#% endif
    user = await accounts.current_user(token)
    assert user is not None
    return token, user


async def count_sessions(database: Database) -> int:
    async with database.transaction() as transaction:
        return await transaction.scalar(select(func.count()).select_from(Session)) or 0
