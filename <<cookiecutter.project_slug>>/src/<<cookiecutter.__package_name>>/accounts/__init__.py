"""Accounts: users<< ", passwords" if cookiecutter.sign_in == "passwords" >> and sessions, and the rules about them.

This package knows nothing of HTTP.
"""

from .accounts import Accounts
from .client import Client
#% if cookiecutter.sign_in == "passwords"
from .errors import AccountError, Busy, Throttled
#% else
from .errors import AccountError
from .identity import AllowList, Identity
#% endif
from .sessions import SESSION_MAX_AGE, CurrentUser

__all__ = [
    "SESSION_MAX_AGE",
    "AccountError",
    "Accounts",
#% if cookiecutter.sign_in == "sso"
    "AllowList",
#% else
    "Busy",
#% endif
    "Client",
    "CurrentUser",
#% if cookiecutter.sign_in == "sso"
    "Identity",
#% else
    "Throttled",
#% endif
]
