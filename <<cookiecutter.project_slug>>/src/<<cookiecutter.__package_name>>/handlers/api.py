"""The JSON API."""

from ..accounts import SignedIn
from ..runtime.handlers import Api, signed_in


class Me(Api):
    """Who is signed in."""

    @signed_in
    def get(self, user: SignedIn) -> None:
        self.write({"name": user.name})
