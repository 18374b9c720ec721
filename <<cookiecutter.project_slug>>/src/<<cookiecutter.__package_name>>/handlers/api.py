"""The JSON API."""

from ..accounts import CurrentUser
from ..runtime.handlers import signed_in
from .base import APIHandler


class Me(APIHandler):
    """Who is signed in."""

    @signed_in
    def get(self, user: CurrentUser) -> None:
        self.write({"name": user.name})
