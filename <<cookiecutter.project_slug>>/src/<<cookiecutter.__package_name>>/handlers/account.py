"""The account page: << "password and " if cookiecutter.sign_in == "passwords" >>sessions of the signed-in user."""

from tornado.web import HTTPError, authenticated

from ..accounts import << "AccountError, " if cookiecutter.sign_in == "passwords" >>CurrentUser
from .forms import Form

# The most digits of a session's id that a database accepts.
DIGITS = 18


class AccountForm(Form):
    """A form on the account page."""

    continue_url = "/account"

    @property
    def user(self) -> CurrentUser:
        """The current user of a method that is `authenticated`."""
        assert self.current_user is not None
        return self.current_user

#% if cookiecutter.sign_in == "passwords"
    async def show(
        self, error: str | None = None, *, form: str = "", changed: bool = False
    ) -> None:
        """Show the page, with an error beside the form that caused it."""
#% else
    async def show(self) -> None:
        """Show the page."""
#% endif
        typed = self.get_query_argument("page", "1")
        page = number(typed) or 1
        sessions, more = await self.accounts.sessions.page(self.user.user_id, page)
<% if cookiecutter.sign_in == "passwords" %>
        await self.render(
            "account.html",
            errors={form: error} if error else {},
            changed=changed,
            sessions=sessions,
            page=page,
            more=more,
        )
<% else %>
        await self.render("account.html", sessions=sessions, page=page, more=more)
<% endif %>


class Account(AccountForm):
    """The << "password and the " if cookiecutter.sign_in == "passwords" >>sessions of the current user."""

    @authenticated
    async def get(self) -> None:
        await self.show()
<% if cookiecutter.sign_in == "passwords" %>

    @authenticated
    async def post(self) -> None:
        try:
            token = await self.unless_gone(
                self.accounts.change_password(
                    self.user,
                    self.get_body_argument("current_password", "", strip=False),
                    self.get_body_argument("new_password", "", strip=False),
                    self.client,
                )
            )
        except AccountError as error:
            await self.show(self.refuse(error), form="password")
            return
        # The change has ended every session, this one too; the browser continues with a new one.
        self.start_session(token)
        await self.identify(token)
        if self.current_user:
            await self.show(changed=True)
        else:
            # Another change has already ended the new session.
            self.redirect(self.get_login_url(), status=303)
<% endif %>


class EndSession(AccountForm):
    """Ends another session of the current user, or all others."""

    @authenticated
    async def post(self) -> None:
        session = self.get_body_argument("session")
        session_id = number(session)
        if session_id is None and session != "others":
            raise HTTPError(400)
#% if cookiecutter.sign_in == "passwords"
        password = self.get_body_argument("current_password", "", strip=False)
        try:
            await self.unless_gone(
                self.accounts.end_session(self.user, password, session_id, self.client)
            )
        except AccountError as error:
            await self.show(self.refuse(error), form="sessions")
            return
#% else
        await self.accounts.end_session(self.user, session_id, self.client)
#% endif
        self.redirect(self.reverse_url("account"), status=303)


def number(text: str) -> int | None:
    """Return the number in a text, or None if the text is not a number."""
    if text.isascii() and text.isdecimal() and len(text) <= DIGITS:
        return int(text)
    return None
