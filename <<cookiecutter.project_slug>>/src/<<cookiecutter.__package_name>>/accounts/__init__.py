"""Accounts: users, their passwords and their sessions. What is stored, and the rules about it.

Nothing in here knows HTTP.
"""

from .accounts import LIFETIME, AccountError, Accounts, SignedIn
from .attempts import TooManyAttempts

__all__ = ["LIFETIME", "AccountError", "Accounts", "SignedIn", "TooManyAttempts"]
