"""Errors of the accounts; each message can be shown to the user."""

from collections.abc import Callable

<% if cookiecutter.sign_in == "passwords" %>
from ..runtime.translations import N_

<% endif %>

class AccountError(Exception):
    """The request breaks a rule. Each sentence can be translated."""

    def __init__(self, *sentences: str, **values: object) -> None:
        super().__init__(*sentences)
        self._sentences = sentences
        self._values = values

    def __str__(self) -> str:
        return self.text(str)

    def text(self, translate: Callable[[str], str]) -> str:
        """Return the message, in the language of `translate`."""
        return " ".join(map(translate, self._sentences)).format(**self._values)
<% if cookiecutter.sign_in == "passwords" %>


class Throttled(AccountError):  # noqa: N818 - it reads as what it is
    """Too many attempts have failed; the next one is possible after `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(
            N_("Too many attempts. Try again in {minutes} minutes."), minutes=-(-seconds // 60)
        )
        self.seconds = seconds


class Busy(AccountError):  # noqa: N818
    """Too many passwords are waiting to be checked."""

    seconds = 5

    def __init__(self) -> None:
        super().__init__(N_("Too many users are signing in. Try again in a moment."))
<% endif %>
