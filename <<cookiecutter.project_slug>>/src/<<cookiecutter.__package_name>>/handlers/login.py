"""Signing in and out."""

import re

from ..accounts import AccountError
from .forms import Form

# A path on this site. Browsers read a backslash as a slash and drop tabs and newlines, so that
# "/\t/evil.example" would leave the site.
PATH_ON_SITE = re.compile(r"/(?!/)[^\\\x00-\x20\x7f]*", re.ASCII)


def safe_next(target: str) -> str:
    """Return where to go after signing in: the requested path, or `/` if it leaves the site."""
    return target if PATH_ON_SITE.fullmatch(target) else "/"


class Login(Form):
    async def get(self) -> None:
        target = safe_next(self.get_query_argument("next", "/"))
        if self.current_user:
            self.redirect(target)
        else:
            self._show(target=target)

    async def post(self) -> None:
        replaced = self.current_user.session_id if self.current_user else None
        try:
            token = await self.unless_gone(
                self.accounts.sign_in(
                    self.get_body_argument("name", ""),
                    self.get_body_argument("password", "", strip=False),
                    self.client,
                    replaced,
                )
            )
        except AccountError as error:
            self._show_again(self.refuse(error))
            return
        if token is None:
            self.set_status(422)
            self._show_again(self.locale.translate("The name or the password is wrong."))
        else:
            self.start_session(token)
            self.redirect(safe_next(self.get_body_argument("next", "/")), status=303)

    def show_stale(self, message: str) -> None:
        self._show_again(message)

    def _show_again(self, error: str) -> None:
        """Show the form with the user's input, except the password."""
        target = safe_next(self.get_body_argument("next", "/"))
        self._show(error, self.get_body_argument("name", ""), target)

    def _show(self, error: str | None = None, name: str = "", target: str = "/") -> None:
        self.render("login.html", error=error, name=name, next=target)


class Logout(Form):
    async def post(self) -> None:
        if user := self.current_user:
            await self.accounts.sign_out(user, self.client)
        self.forget_session()
        self.redirect("/", status=303)
