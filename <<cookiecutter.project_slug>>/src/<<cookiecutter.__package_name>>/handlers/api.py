"""The JSON API."""

from ..accounts import CurrentUser
from ..runtime.handlers import signed_in
from .base import APIHandler


class Me(APIHandler):
    """The signed-in user."""

    @signed_in
    def get(self, user: CurrentUser) -> None:
        self.write({"name": user.name})
