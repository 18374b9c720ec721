"""Accounts: users, their passwords and their sessions. What is stored, and the rules about it.

Nothing in here knows HTTP.
"""

from .accounts import SESSION_MAX_AGE, AccountError, Accounts, CurrentUser
from .throttle import Throttled

__all__ = ["SESSION_MAX_AGE", "AccountError", "Accounts", "CurrentUser", "Throttled"]
