"""Why something cannot be done; each message can be shown to the user."""


class AccountError(Exception):
    """What was asked for is against the rules."""


class Throttled(AccountError):  # noqa: N818 - it reads as what it is
    """Too many attempts have failed; `seconds` says when the next one is possible."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many attempts. Try again in {-(-seconds // 60)} minutes.")
        self.seconds = seconds


class Busy(AccountError):  # noqa: N818
    """More passwords wait to be checked than can be checked soon."""

    seconds = 5

    def __init__(self) -> None:
        super().__init__("Too many people sign in just now. Try again in a moment.")
