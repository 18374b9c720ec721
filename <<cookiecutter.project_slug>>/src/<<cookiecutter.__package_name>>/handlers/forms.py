"""The base class of the login and account forms."""

#% if cookiecutter.sign_in == "passwords"
import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

#% endif
from tornado.web import HTTPError

#% if cookiecutter.sign_in == "passwords"
from ..accounts import AccountError, Busy, Client, Throttled
#% else
from ..accounts import Client
#% endif
from ..runtime.translations import N_
from .base import PageHandler

#% if cookiecutter.sign_in == "passwords"
# The status by which balancers log that the client disconnected before the answer.
CLIENT_GONE = 499

#% endif
STALE = N_("This page was open for too long, so nothing was done. Please send it again.")
NO_COOKIE = N_(
    "Your browser did not send this site's cookie, so nothing was done. Please try again; if you see"
    " this again, allow cookies for this site."
)

<% if cookiecutter.sign_in == "passwords" %>
Result = TypeVar("Result")

<% endif %>

class Form(PageHandler):
    """A page with a form."""

    # The link on the page for a stale form.
    continue_url = "/"
    stale = False
<% if cookiecutter.sign_in == "passwords" %>
    _work: "asyncio.Task[Any] | None" = None
    _client_gone = False
<% endif %>

    @property
    def client(self) -> Client:
        return Client(
            address=self.request.remote_ip or "",
            user_agent=self.request.headers.get("User-Agent", ""),
            request_id=self.request_id,
        )

<% if cookiecutter.sign_in == "passwords" %>
    async def unless_gone(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Wait for work with passwords, which is given up when the client disconnects."""
        self._work = asyncio.create_task(work)
        try:
            result: Result = await self._work
        except asyncio.CancelledError:
            if not self._client_gone:
                raise
            raise HTTPError(CLIENT_GONE, reason="Client Closed Request") from None
        return result

    def on_connection_close(self) -> None:
        self._client_gone = True
        if self._work is not None:
            self.accounts.give_up(self._work)

    def refuse(self, error: AccountError) -> str:
        """Set the status and headers for this error; return the message to show."""
        self.set_status(422)
        if isinstance(error, Throttled | Busy):
            self.set_status(429 if isinstance(error, Throttled) else 503)
            self.set_header("Retry-After", str(error.seconds))
        return error.text(self.locale.translate)

<% endif %>
    def check_xsrf_cookie(self) -> None:
        try:
            super().check_xsrf_cookie()
        except HTTPError:
            self.stale = True
            raise

    def show_error(self, status: int, message: str, shown_traceback: str | None) -> None:
        sent = self.get_cookie(self.settings["xsrf_cookie_name"])
        try:
            if self.stale:
                self.show_stale(self.locale.translate(STALE if sent else NO_COOKIE))
                return
        except HTTPError:
            pass  # The input is not valid text: there is nothing to show again.
        super().show_error(status, message, shown_traceback)

    def show_stale(self, message: str) -> None:
        """Show a link to the page with the form, which then has a valid token."""
        self.render("stale.html", message=message, continue_url=self.continue_url)
