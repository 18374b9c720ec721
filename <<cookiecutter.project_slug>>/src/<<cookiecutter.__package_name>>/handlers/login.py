"""Signing in and out."""

<% if cookiecutter.sign_in == "passwords" %>
import re

from ..accounts import AccountError
from .forms import Form
<% else %>
import json
import logging
import re
from dataclasses import asdict

from ..accounts import AccountError
from ..provider import InvalidIdentity, Pending, Provider, ProviderUnavailable, SignInRefused
from ..runtime.translations import N_
from .forms import Form

log = logging.getLogger(__name__)

# How long a sign-in at the provider may take.
PENDING_MINUTES = 10
PENDING_DAYS = PENDING_MINUTES / (24 * 60)

NOT_SET = N_("Sign-in is not set up: {settings}. docs/single-sign-on.md says how.")
UNAVAILABLE = N_("The sign-in provider does not answer as it should. Try again in a moment.")
LATE = N_("This sign-in took too long, or began in another browser. Please sign in again.")
REFUSED = N_("The sign-in provider has not signed you in. Please try again.")
INVALID = N_("The sign-in provider's answer is not valid, so you are not signed in.")
<% endif %>

# A path on this site. Browsers read a backslash as a slash and drop tabs and newlines, so that
# "/\t/evil.example" would leave the site.
PATH_ON_SITE = re.compile(r"/(?!/)[^\\\x00-\x20\x7f]*", re.ASCII)


def safe_next(target: str) -> str:
    """Return where to go after signing in: the requested path, or `/` if it leaves the site."""
    return target if PATH_ON_SITE.fullmatch(target) else "/"


<% if cookiecutter.sign_in == "passwords" %>
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
<% else %>
class SingleSignOn(Form):
    """What signing in and out at the provider share."""

    @property
    def provider(self) -> Provider:
        provider: Provider = self.settings["provider"]
        return provider

    @property
    def pending_cookie(self) -> str:
        name: str = self.settings["pending_cookie_name"]
        return name

    def address_of(self, page: str) -> str:
        """Return the full address of a page of this site, as the provider has to know it."""
        return f"{self.request.protocol}://{self.request.host}{self.reverse_url(page)}"

    def leave_for(self, url: str) -> None:
        """Send the browser to the provider by a page.

        Not by a redirect: after a form, the Content-Security-Policy would have to name each host on
        the way, and a provider may hand on to others.
        """
        self.current_user = None
        self.render("leave.html", url=url)

    def show(self, error: str | None = None, target: str = "/") -> None:
        self.render("login.html", error=error, next=target)

    def fail(self, status: int, message: str, error: Exception, target: str = "/") -> None:
        """Answer with the page to sign in and the reason, which is logged in full."""
        fields = {"request_id": self.request_id}
        log.warning("Nobody was signed in: %s", error, extra={"fields": fields})
        self.set_status(status)
        if status == 503:
            self.set_header("Retry-After", "5")
        self.show(self.locale.translate(message), target)


class Login(SingleSignOn):
    """The page to sign in; its button begins a sign-in at the provider."""

    async def get(self) -> None:
        target = safe_next(self.get_query_argument("next", "/"))
        if self.current_user:
            self.redirect(target)
        else:
            self.show(self._not_set(), target)

    async def post(self) -> None:
        target = safe_next(self.get_body_argument("next", "/"))
        if not_set := self._not_set():
            self.set_status(503)
            self.show(not_set, target)
            return
        try:
            url, pending = await self.provider.begin(self.address_of("login_callback"), target)
        except ProviderUnavailable as error:
            self.fail(503, UNAVAILABLE, error, target)
            return
        self.set_signed_cookie(
            self.pending_cookie,
            json.dumps(asdict(pending)),
            expires_days=PENDING_DAYS,
            path="/",
            secure=self.https,
            httponly=True,
            samesite="Lax",
        )
        self.leave_for(url)

    def show_stale(self, message: str) -> None:
        self.show(message, safe_next(self.get_body_argument("next", "/")))

    def _not_set(self) -> str | None:
        if not self.provider.missing:
            return None
        settings = ", ".join(self.provider.missing)
        return self.locale.translate(NOT_SET).format(settings=settings)


class LoginCallback(SingleSignOn):
    """Where the provider sends the browser after the sign-in."""

    async def get(self) -> None:
        pending = self._take_pending()
        if pending is None:
            self.fail(400, LATE, SignInRefused("there is no cookie of a sign-in that has begun"))
            return
        answer = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        replaced = self.current_user.session_id if self.current_user else None
        try:
            identity, id_token = await self.provider.finish(
                pending, self.address_of("login_callback"), answer
            )
            token = await self.accounts.sign_in(identity, id_token, self.client, replaced)
        except ProviderUnavailable as error:
            self.fail(503, UNAVAILABLE, error, pending.target)
        except SignInRefused as error:
            self.fail(400, REFUSED, error, pending.target)
        except InvalidIdentity as error:
            self.fail(502, INVALID, error, pending.target)
        except AccountError as error:
            self.set_status(403)
            self.show(error.text(self.locale.translate), pending.target)
        else:
            self.start_session(token)
            self.redirect(safe_next(pending.target), status=303)

    def _take_pending(self) -> Pending | None:
        """Return the sign-in that this browser has begun, once."""
        value = self.get_signed_cookie(
            self.pending_cookie, max_age_days=PENDING_DAYS, min_version=2
        )
        self.clear_cookie(
            self.pending_cookie, path="/", secure=self.https, httponly=True, samesite="Lax"
        )
        return Pending(**json.loads(value)) if value else None


class Logout(SingleSignOn):
    async def post(self) -> None:
        id_token = None
        if user := self.current_user:
            id_token = await self.accounts.sign_out(user, self.client)
        self.forget_session()
        url = None
        if id_token:
            try:
                url = await self.provider.end_session_url(id_token, self.address_of("home"))
            except ProviderUnavailable as error:
                log.warning("Signed out here, not at the provider: %s", error)
        if url:
            self.leave_for(url)
        else:
            self.redirect("/", status=303)
<% endif %>
