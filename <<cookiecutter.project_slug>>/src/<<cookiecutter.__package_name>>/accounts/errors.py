"""Why something cannot be done; each message can be shown to the user."""

from collections.abc import Callable

from ..runtime.translations import N_


class AccountError(Exception):
    """What was asked for is against the rules. Each sentence can be translated."""

    def __init__(self, *sentences: str, **values: object) -> None:
        super().__init__(*sentences)
        self._sentences = sentences
        self._values = values

    def __str__(self) -> str:
        return self.text(str)

    def text(self, translate: Callable[[str], str]) -> str:
        """Return the message, in the language of `translate`."""
        return " ".join(map(translate, self._sentences)).format(**self._values)


class Throttled(AccountError):  # noqa: N818 - it reads as what it is
    """Too many attempts have failed; `seconds` says when the next one is possible."""

    def __init__(self, seconds: int) -> None:
        super().__init__(
            N_("Too many attempts. Try again in {minutes} minutes."), minutes=-(-seconds // 60)
        )
        self.seconds = seconds


class Busy(AccountError):  # noqa: N818
    """More passwords wait to be checked than can be checked soon."""

    seconds = 5

    def __init__(self) -> None:
        super().__init__(N_("Too many users are signing in. Try again in a moment."))
