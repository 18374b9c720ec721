"""Accounts: users, their passwords and their sessions. What is stored, and the rules about it.

Nothing in here knows HTTP.
"""

from .accounts import LIFETIME, AccountError, Accounts
from .tables import Session, User

__all__ = ["LIFETIME", "AccountError", "Accounts", "Session", "User"]
