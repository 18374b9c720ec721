"""Helpers of the accounts' tests."""

from sqlalchemy import func, select

from << cookiecutter.__package_name >>.accounts import Accounts, Client, CurrentUser
from << cookiecutter.__package_name >>.accounts.tables import Session
from << cookiecutter.__package_name >>.database import Database

from ..browser import PASSWORD

CLIENT = Client("192.0.2.1", "Test/1", "0" * 32)


async def signed_in(accounts: Accounts, name: str = "ada") -> tuple[str, CurrentUser]:
    """Sign in; return the token and its user."""
    token = await accounts.sign_in(name, PASSWORD, CLIENT)
    assert token is not None
    user = await accounts.current_user(token)
    assert user is not None
    return token, user


async def count_sessions(database: Database) -> int:
    async with database.transaction() as transaction:
        return await transaction.scalar(select(func.count()).select_from(Session)) or 0
