"""Your settings: one table. `runtime/settings.py` has those of every process, and reads them all."""

from typing import Annotated, Any

from pydantic import AfterValidator

from .database import readable_url
from .runtime.settings import HIDDEN, ProcessSettings, load, setting


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


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` (from the command line) win.

    Raises SettingsError, which lists every problem with its variable and its remedy.
    """
    return load(Settings, **overrides)
