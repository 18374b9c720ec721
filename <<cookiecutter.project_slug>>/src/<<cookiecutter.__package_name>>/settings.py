"""Your settings: one table. `runtime/settings.py` has those of every process, and reads them all."""

from typing import Annotated, Any

<% if cookiecutter.sign_in == "passwords" %>
from pydantic import AfterValidator
<% else %>
from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode
<% endif %>

from .database import readable_url
from .runtime.settings import HIDDEN, ProcessSettings, load, setting
<% if cookiecutter.sign_in == "sso" %>


def listed(text: str) -> frozenset[str]:
    """Read `one,another` into its parts."""
    return frozenset(filter(None, map(str.strip, text.split(","))))


Listed = Annotated[frozenset[str], NoDecode, BeforeValidator(listed)]
<% endif %>


class Settings(ProcessSettings):
    """A row for each setting: its type, `setting(GROUP, HELP, default=...)`.

    Without a default a setting is required. `make fix` adds new ones to `.env.example`.
    """

    database_url: Annotated[str, AfterValidator(readable_url)] = setting(
        "Database",
<% if cookiecutter.database == "sqlite" %>
        "Where the data lives: sqlite+aiosqlite:///PATH, or with four slashes for one from the root.",
        default="sqlite+aiosqlite:///var/<< cookiecutter.__package_name >>.sqlite3",
        pattern=r"^sqlite\+aiosqlite://",
        **HIDDEN,
    )
<% else %>
        "Where the data lives: postgresql+psycopg://USER:PASSWORD@HOST/DATABASE. Without user and"
        " host: as yourself, on this machine.",
        default="postgresql+psycopg:///<< cookiecutter.__package_name >>",
        pattern=r"^postgresql\+psycopg://",
        **HIDDEN,
    )
    backup_database_url: Annotated[str, AfterValidator(readable_url)] | None = setting(
        "Database",
        "The server itself, for `backup`, where DATABASE_URL leads to a pooler in transaction mode.",
        default=None,
        **HIDDEN,
    )
    database_connections: int = setting(
        "Database",
        "How many connections a process opens at most. All processes together must stay below"
        " max_connections of the server.",
        default=<< cookiecutter.__database_connections >>,
        ge=1,
        le=1000,
    )
<% endif %>
<% if cookiecutter.sign_in == "sso" %>

    oidc_issuer: str | None = setting(
        "Single sign-on",
        "The OpenID provider, as its discovery names itself: https://login.example.com/realms/main.",
        default=None,
        pattern=r"^https?://[^\s?#]+$",
    )
    oidc_client_id: str | None = setting(
        "Single sign-on", "The name by which the provider knows this service.", default=None
    )
    oidc_client_secret: str | None = setting(
        "Single sign-on", "The secret that the provider has given to it.", default=None, **HIDDEN
    )
    oidc_scope: str = setting(
        "Single sign-on",
        "What the service asks the provider for; some need one more for the groups.",
        default="openid profile email",
        pattern=r"\bopenid\b",
    )
    oidc_groups_claim: str = setting(
        "Single sign-on", "The claim in which the provider lists a user's groups.", default="groups"
    )
    oidc_allowed_domains: Listed = setting(
        "Single sign-on",
        "Users with a verified e-mail address in these domains may sign in: DOMAIN,... or * for"
        " every account of the provider. Without domains and groups nobody may.",
        default="",
        validate_default=True,
    )
    oidc_allowed_groups: Listed = setting(
        "Single sign-on",
        "Users in one of these groups may sign in; with domains as well, both must fit.",
        default="",
        validate_default=True,
    )

    @property
    def missing_for_sign_in(self) -> list[str]:
        """The settings without which nobody can sign in and that have no value."""
        needed = ("oidc_issuer", "oidc_client_id", "oidc_client_secret")
        return [name.upper() for name in needed if not getattr(self, name)]
<% endif %>


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` (from the command line) win.

    Raises SettingsError, which lists every problem with its variable and its remedy.
    """
    return load(Settings, **overrides)
