"""Accounts: users, their passwords and their sessions. What is stored, and the rules about it.

Nothing in here knows HTTP.
"""

from .accounts import Accounts
from .client import Client
from .errors import AccountError, Busy, Throttled
from .sessions import SESSION_MAX_AGE, CurrentUser

__all__ = [
    "SESSION_MAX_AGE",
    "AccountError",
    "Accounts",
    "Busy",
    "Client",
    "CurrentUser",
    "Throttled",
]
