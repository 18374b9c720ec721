"""The JSON API."""

from ..accounts import CurrentUser
from ..runtime.handlers import Api, signed_in


class Me(Api):
    """Who is signed in."""

    @signed_in
    def get(self, user: CurrentUser) -> None:
        self.write({"name": user.name})
