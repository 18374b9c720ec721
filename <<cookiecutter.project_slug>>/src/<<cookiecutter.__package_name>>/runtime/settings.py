# Part of the template: you need not edit this file.
"""The settings of every process, and how settings are read. Your own stand in `settings.py`.

Nothing else in the service reads the environment.

A value comes from the first of: the command line, the environment, the files `.env.release` (which
a deploy writes) and `.env` in the current folder, the default below. The defaults are those of
production.
"""

import os
import re
import secrets
import textwrap
from importlib.metadata import version
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .. import COMMAND

NEW_SECRET = f"{COMMAND} secret new"
SECRET_CHARACTERS = 32


# Settings that are printed, or dumped, do not show it: it may hold a password.
HIDDEN = {"repr": False, "exclude": True}


class SettingsError(Exception):
    """The settings are wrong; the message names every problem and how to mend it."""


def parse_cookie_secret(text: str) -> dict[int, str]:
    """Read `version:secret[,version:secret...]` into versions and their secrets, in that order.

    Versions are the days on which the secrets were made, 20261231 for one, which tells their age.

    Raises ValueError, which says what is wrong without showing the secret.
    """
    keys: dict[int, str] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([1-9][0-9]{0,9}):(\S+)\s*", part)
        if match is None:
            raise ValueError(
                "it is not of the form 20261231:SECRET, or NEW,OLD of these while it is being replaced"
            )
        key_version, secret = int(match[1]), match[2]
        if key_version in keys:
            raise ValueError(f"version {key_version} is given twice")
        if len(secret) < SECRET_CHARACTERS or len(set(secret)) < SECRET_CHARACTERS // 3:
            raise ValueError(
                f"version {key_version} is too easy to guess"
                f" (at least {SECRET_CHARACTERS} random characters)"
            )
        keys[key_version] = secret
    return keys


def new_secret() -> str:
    """Return a random secret, good for signing cookies."""
    return secrets.token_urlsafe(48)


def _checked_secret(value: SecretStr) -> SecretStr:
    parse_cookie_secret(value.get_secret_value())
    return value


<% if cookiecutter.database == "postgresql" %>
def environment_with(**more: str) -> dict[str, str]:
    """Return the environment for a program that is started, with these variables besides."""
    return os.environ | more


<% endif %>
def secret_is_in_environment() -> bool:
    """Tell whether the environment, not `.env`, gives the cookie secret."""
    return "COOKIE_SECRET" in os.environ


#% if cookiecutter.process_manager == "systemd"
def notify_socket() -> str | None:
    """Return where systemd wants to hear from this process; None if it was not started by it."""
    return os.environ.get("NOTIFY_SOCKET")


#% endif
def setting(group: str, help_text: str, **rules: Any) -> Any:
    """Describe one row of the table: its group, what it does, and pydantic's rules for it."""
    return Field(description=help_text, json_schema_extra={"group": group}, **rules)


class ProcessSettings(BaseSettings):
    """What each process needs to know, checked and unchangeable."""

    model_config = SettingsConfigDict(
        env_file=(".env", ".env.release"),
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    cookie_secret: Annotated[SecretStr, AfterValidator(_checked_secret)] = setting(
        "Secret",
        "Signs the cookies. VERSION:SECRET, several separated by commas: the first signs, all are"
        " accepted. The command `secret new` makes one.",
    )

    host: str = setting(
        "Server", "Address to listen on. Loopback: only a balancer beside it.", default="127.0.0.1"
    )
    port: int = setting("Server", "Port to listen on.", default=<< cookiecutter.__debug_port >>, ge=1, le=65535)
    behind_proxy: bool = setting(
        "Server",
        "Believe X-Real-IP and X-Forwarded-Proto. Only where nobody but the balancer, which"
        " overwrites them, can reach the port.",
        default=True,
    )
    release: str = setting(
        "Server",
        "Name of the release, told by /readyz and /metrics.",
        default_factory=lambda: version(COMMAND),
        pattern=r"^[A-Za-z0-9._+-]{1,64}$",
    )

    max_in_flight: int = setting(
        "Load",
        "How many requests a process answers at the same time; more are refused with 503. Signed-in"
        " pages take some 5 ms each: at 100 the last of them waits half a second. The balancer's"
        " files hold the sum of all processes.",
        default=<< cookiecutter.__max_in_flight >>,
        ge=1,
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "Logs", "The least severe messages that are still written.", default="INFO"
    )

    drain_seconds: float = setting(
        "Drain",
        "The longest time for answering what is in flight after SIGTERM. The process manager must"
        " wait longer than this and UNREADY_SECONDS together.",
        default=<< cookiecutter.__drain_seconds >>,
        ge=0,
        le=3600,
    )
    unready_seconds: float = setting(
        "Drain",
        "How long to say not ready before the drain starts: for a balancer that asks /readyz.",
        default=0,
        ge=0,
        le=600,
    )

    debug: bool = setting(
        "Debug", "Development mode; sets the four below unless they are given.", default=False
    )
    autoreload: bool | None = setting("Debug", "Restart when a source file changes.", default=None)
    compiled_template_cache: bool | None = setting(
        "Debug", "Compile each template once; off in debug mode.", default=None
    )
    static_hash_cache: bool | None = setting(
        "Debug", "Hash each static file once; off in debug mode.", default=None
    )
    serve_traceback: bool | None = setting(
        "Debug", "Show the traceback on error pages.", default=None
    )

    @property
    def cookie_keys(self) -> dict[int, str]:
        """The cookie secrets by version; the first one signs."""
        return parse_cookie_secret(self.cookie_secret.get_secret_value())

    @property
    def debug_flags(self) -> dict[str, Any]:
        """Tornado's four parts of debug mode, each as given or else as `debug` says."""
        flags = {
            "autoreload": (self.autoreload, self.debug),
            "compiled_template_cache": (self.compiled_template_cache, not self.debug),
            "static_hash_cache": (self.static_hash_cache, not self.debug),
            "serve_traceback": (self.serve_traceback, self.debug),
        }
        return {
            name: default if given is None else given for name, (given, default) in flags.items()
        }


AnySettings = TypeVar("AnySettings", bound=ProcessSettings)


def load(kind: type[AnySettings], **overrides: Any) -> AnySettings:
    """Read the settings; what is given here (from the command line) wins.

    Raises SettingsError, which lists every problem with its variable and its remedy.
    """
    try:
        return kind(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(explain(error, kind)) from None


def explain(error: ValidationError, kind: type[ProcessSettings]) -> str:
    """Say what is wrong with the settings, a line for each, never showing a value."""
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "no such setting; see .env.example for all there are"
        elif problem["type"] == "missing":
            message = "it has no value"
        if name == "cookie_secret":
            message += f"; make one with `{NEW_SECRET}` and put it into .env"
        elif name in kind.model_fields:
            message += f". {kind.model_fields[name].description}"
        lines.append(f"  {name.upper()}: {message}")
    return "\n".join(
        ["The settings are wrong (environment, or .env in this folder):", *sorted(lines)]
    )


def env_example(kind: type[ProcessSettings]) -> str:
    """Return the text of `.env.example`: every setting with its help and its default."""
    lines = [
        "# Every setting with its default. To change one, set it in .env or in the environment.",
        "# `make fix` writes this file from settings.py.",
    ]
    group = ""
    for name, field in kind.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        if extra["group"] != group:
            group = str(extra["group"])
            lines += ["", f"# --- {group} ---"]
        lines += textwrap.wrap(
            f"{field.description}", 100, initial_indent="# ", subsequent_indent="# "
        )
        default = "" if field.is_required() or field.default_factory else field.default
        if isinstance(default, bool):
            default = str(default).lower()
        lines.append(f"#{name.upper()}={'' if default is None else default}")
    return "\n".join(lines) + "\n"
