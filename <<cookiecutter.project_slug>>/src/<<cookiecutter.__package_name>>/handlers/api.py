"""The JSON API."""

from .base import Api


class Me(Api):
    """Who is signed in."""

    def get(self) -> None:
        self.require_user()
        self.write({"name": self.current_user.name})
