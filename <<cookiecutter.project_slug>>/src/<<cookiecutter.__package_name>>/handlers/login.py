"""Signing in and out."""

import re

from ..accounts import Throttled
from ..runtime.handlers import Page

# A path on this site, in characters that no browser takes for anything else: browsers read a
# backslash as a slash and drop tabs and newlines, so that "/\t/evil.example" leaves the site.
PATH_ON_SITE = re.compile(r"/(?!/)[^\\\x00-\x20\x7f]*", re.ASCII)


def safe_next(target: str) -> str:
    """Return where to go after signing in: the path asked for, or `/` if it leaves the site."""
    return target if PATH_ON_SITE.fullmatch(target) else "/"


class Login(Page):
    async def get(self) -> None:
        target = safe_next(self.get_query_argument("next", "/"))
        if self.current_user:
            self.redirect(target)
        else:
            await self.render("login.html", error=None, name="", next=target)

    async def post(self) -> None:
        name = self.get_body_argument("name", "")
        target = safe_next(self.get_body_argument("next", "/"))
        try:
            token = await self.application.accounts.sign_in(
                name,
                self.get_body_argument("password", "", strip=False),
                address=self.request.remote_ip or "",
                user_agent=self.request.headers.get("User-Agent", ""),
            )
        except Throttled as error:
            self.come_back_later(error)
            await self.render("login.html", error=str(error), name=name, next=target)
            return
        if token is None:
            self.set_status(422)
            problem = "The name or the password is not right."
            await self.render("login.html", error=problem, name=name, next=target)
        else:
            self.start_session(token)
            self.redirect(target, status=303)


class Logout(Page):
    async def post(self) -> None:
        if user := self.current_user:
            await self.application.accounts.end_session(user.user_id, user.session_id)
        self.forget_session()
        self.redirect("/", status=303)
