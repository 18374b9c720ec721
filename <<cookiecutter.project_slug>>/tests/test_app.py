"""The application, as the settings configure it."""

from collections.abc import Callable
from pathlib import Path

from tornado.web import RequestHandler

import << cookiecutter.__package_name >> as service
from << cookiecutter.__package_name >>.routes import ROUTES
from << cookiecutter.__package_name >>.runtime.handlers import BaseHandler

from .running import Site

STATIC = Path(service.__file__).resolve().parent / "static"


async def test_the_settings_reach_tornado(open_site: Callable[..., Site]) -> None:
    """Tornado's settings are set, and follow ours where there is a choice."""
    site = open_site(
        debug=True,
        autoreload=False,
        compiled_template_cache=True,
        static_hash_cache=True,
        serve_traceback=False,
    )
    known = site.app.settings
    assert known["cookie_secret"] == site.settings.cookie_secret
    assert known["key_version"] == 1
    assert known["login_url"] == "/login"
    assert known["xsrf_cookies"] is True
    assert known["cross_origin_protection"] is True
    assert known["static_path"] == str(STATIC)
    flags = {name: known[name] for name in site.settings.debug_flags}
    assert flags == site.settings.debug_flags
    assert known["websocket_ping_timeout"] <= known["websocket_ping_interval"]


def test_every_route_has_a_name_and_the_common_base() -> None:
    """Every page can be linked to by name, and has the common headers and errors."""
    names = [rule.name for rule in ROUTES]
    assert len({*names, None}) == len(names) + 1
    for rule in ROUTES:
        assert isinstance(rule.target, type)
        assert issubclass(rule.target, BaseHandler), rule.name
        assert issubclass(rule.target, RequestHandler)


async def test_two_applications_share_only_the_database(open_site: Callable[..., Site]) -> None:
    """Two applications in one process do not affect each other."""
    one, two = open_site(release="1"), open_site(release="2")
    browser = one.browser()
    await browser.sign_in()
    one.app.connections.draining = True
    browser.url = two.url
    assert (await browser.get("/readyz")).code == 200
    assert await browser.user() == "ada"
