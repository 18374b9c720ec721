"""The account of whoever is signed in: the password, and the sessions it has open."""

from tornado.web import HTTPError, authenticated

from ..accounts import AccountError
from .base import Page


class Account(Page):
    @authenticated
    async def get(self) -> None:
        await self._show()

    @authenticated
    async def post(self) -> None:
        try:
            token = await self.application.accounts.change_password(
                self.current_user,
                self.get_body_argument("current_password", "", strip=False),
                self.get_body_argument("new_password", "", strip=False),
                address=self.request.remote_ip or "",
                user_agent=self.request.headers.get("User-Agent", ""),
            )
        except AccountError as error:
            self.set_status(422)
            await self._show(error=str(error))
            return
        # The change has ended every session, this one too; the browser goes on with a new one.
        self.start_session(token)
        await self._load_session(token)
        await self._show(changed=True)

    async def _show(self, error: str | None = None, *, changed: bool = False) -> None:
        assert self.session is not None
        await self.render(
            "account.html",
            error=error,
            changed=changed,
            sessions=await self.application.accounts.sessions(self.current_user),
            current=self.session,
        )


class EndSession(Page):
    @authenticated
    async def post(self) -> None:
        session_id = self.get_body_argument("session")
        if not session_id.isdecimal():
            raise HTTPError(400)
        await self.application.accounts.end_session(self.current_user, int(session_id))
        self.redirect(self.reverse_url("account"), status=303)
