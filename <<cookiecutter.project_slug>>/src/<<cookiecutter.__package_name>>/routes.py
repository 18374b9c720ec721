"""Your URLs: one table. A new page is a new line here and a new file in `handlers/`."""

from tornado.web import url

from .handlers.account import Account, EndSession
from .handlers.api import Me
from .handlers.home import Home
from .handlers.live import LiveSocket
from .handlers.login import Login, << "LoginCallback, " if cookiecutter.sign_in == "sso" >>Logout
from .runtime.health import Healthz, MetricsText, Readyz
from .runtime.static_files import RootFile

ROUTES = [
    url(r"/", Home, name="home"),
    url(r"/login", Login, name="login"),
#% if cookiecutter.sign_in == "sso"
    url(r"/login/callback", LoginCallback, name="login_callback"),
#% endif
    url(r"/logout", Logout, name="logout"),
    url(r"/account", Account, name="account"),
    url(r"/account/sessions", EndSession, name="end_session"),
    url(r"/live", LiveSocket, name="live"),
    url(r"/api/me", Me, name="me"),
    url(r"/healthz", Healthz, name="healthz"),
    url(r"/readyz", Readyz, name="readyz"),
    url(r"/metrics", MetricsText, name="metrics"),
    url(r"/(robots\.txt|favicon\.ico|apple-touch-icon\.png)", RootFile, name="root_file"),
]
