"""Accounts: users, passwords and sessions, and the rules about them.

This package knows nothing of HTTP.
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
