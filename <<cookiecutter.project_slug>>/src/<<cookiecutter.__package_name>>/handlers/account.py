"""The account of whoever is signed in: the password, and the sessions it has open."""

from tornado.web import HTTPError, authenticated

from ..accounts import AccountError, Throttled
from ..runtime.handlers import Page


class Account(Page):
    """The password and the sessions of whoever is signed in."""

    @authenticated
    async def get(self) -> None:
        await self._show()

    @authenticated
    async def post(self) -> None:
        assert self.current_user is not None
        try:
            token = await self.application.accounts.change_password(
                self.current_user.user_id,
                self.get_body_argument("current_password", "", strip=False),
                self.get_body_argument("new_password", "", strip=False),
                address=self.request.remote_ip or "",
                user_agent=self.request.headers.get("User-Agent", ""),
            )
        except Throttled as error:
            self.come_back_later(error)
            await self._show(error=str(error))
            return
        except AccountError as error:
            self.set_status(422)
            await self._show(error=str(error))
            return
        # The change has ended every session, this one too; the browser goes on with a new one.
        self.start_session(token)
        await self.identify(token)
        await self._show(changed=True)

    async def _show(self, error: str | None = None, *, changed: bool = False) -> None:
        assert self.current_user is not None
        sessions = await self.application.accounts.sessions(self.current_user.user_id)
        await self.render("account.html", error=error, changed=changed, sessions=sessions)


class EndSession(Page):
    """Ends one of the sessions of whoever is signed in."""

    @authenticated
    async def post(self) -> None:
        assert self.current_user is not None
        session_id = self.get_body_argument("session")
        if not (session_id.isascii() and session_id.isdecimal() and len(session_id) < 19):
            raise HTTPError(400)
        await self.application.accounts.end_session(self.current_user.user_id, int(session_id))
        self.redirect(self.reverse_url("account"), status=303)
