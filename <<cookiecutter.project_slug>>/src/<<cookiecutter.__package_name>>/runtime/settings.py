# Part of the template: you need not edit this file.
"""The settings of every process, and how settings are read. Your own stand in `settings.py`.

Nothing else in the service reads the environment.

A value comes from the first of: the command line, the environment, the files `.env.release` (which
#% if cookiecutter.__containers
names a release) and `.env` in the current folder, a file in /run/secrets with the setting's name, the
default below. The defaults are those of production.
#% else
a deploy writes) and `.env` in the current folder, the default below. The defaults are those of
production.
#% endif
"""

import os
import re
import secrets
import textwrap
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .. import COMMAND

# A later file wins.
ENV_FILES = (".env", ".env.release")
#% if cookiecutter.__containers
# Where a container's engine puts secrets: a file for each setting, in memory.
SECRETS = Path("/run/secrets")
#% endif
ENVIRONMENT = "the environment"
NEW_SECRET = f"{COMMAND} secret new"
SECRET_CHARACTERS = 32


# Settings that are printed, or dumped, do not show it: it may hold a password.
HIDDEN = {"repr": False, "exclude": True}


class SettingsError(Exception):
    """The settings are wrong; the message names every problem and its remedy."""


def parse_cookie_secret(text: str) -> dict[int, str]:
    """Read `version:secret[,version:secret...]` into versions and their secrets, in that order.

    A version is the day on which the secret was made, for example 20261231, and shows its age.

    Raises ValueError, which says what is wrong without showing the secret.
    """
    keys: dict[int, str] = {}
#% if cookiecutter.__containers
    # A file that holds the secret alone has a note above it while it is being replaced.
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
#% endif
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


# Its versions and their secrets; the first one signs.
CookieSecret = Annotated[dict[int, str], NoDecode, BeforeValidator(parse_cookie_secret)]


def new_secret() -> str:
    """Return a random secret, good for signing cookies."""
    return secrets.token_urlsafe(48)


<% if cookiecutter.database == "postgresql" %>
def environment_with(**more: str) -> dict[str, str]:
    """Return the environment for a child process, with these variables added."""
    return os.environ | more


<% endif %>
def in_ci() -> bool:
    """Return whether this runs in a pipeline: all CI services set CI."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def hand_to_opentelemetry(settings: "ProcessSettings") -> None:
    """Put its settings where OpenTelemetry looks for them; in `.env` it would not see them."""
    for name in ProcessSettings.model_fields:
        value = getattr(settings, name)
        if name.startswith("otel_") and value is not None:
            os.environ[name.upper()] = str(value)


#% if cookiecutter.__containers
def in_container() -> bool:
    """Tell whether this is a process of the image, which says so as systemd expects it."""
    return "container" in os.environ


#% endif
#% if cookiecutter.process_manager == "systemd"
def notify_socket() -> str | None:
    """Return systemd's notification socket, or None if systemd did not start this process."""
    return os.environ.get("NOTIFY_SOCKET")


#% endif
def setting(group: str, help_text: str, **rules: Any) -> Any:
    """Describe one row of the table: its group, what it does, and pydantic's rules for it."""
    return Field(description=help_text, json_schema_extra={"group": group}, **rules)


class ProcessSettings(BaseSettings):
    """The settings of every process, validated and immutable."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILES,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    cookie_secret: CookieSecret = setting(
        "Secret",
        "Signs the cookies. VERSION:SECRET, several separated by commas: the first signs, all are"
        " accepted. The command `secret new` makes one.",
        **HIDDEN,
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
        "Name of the release, shown by /readyz and /metrics.",
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
    slow_request_seconds: float = setting(
        "Logs", "A request that takes this long is logged as a WARNING.", default=1, gt=0
    )

    otel_exporter_otlp_endpoint: str | None = setting(
        "Traces",
        "Send traces to this collector, by OTLP over HTTP: http://HOST:4318. None: no traces.",
        default=None,
        pattern=r"^https?://",
    )
    otel_exporter_otlp_headers: str | None = setting(
        "Traces", "Headers for the collector: NAME=VALUE,...", default=None, **HIDDEN
    )
    otel_traces_sampler: str | None = setting(
        "Traces",
        "Which requests are traced: parentbased_always_on, parentbased_traceidratio ...",
        default=None,
        pattern=r"^(parentbased_)?(always_on|always_off|traceidratio)$",
    )
    otel_traces_sampler_arg: float | None = setting(
        "Traces", "The share of them, for a sampler by ratio.", default=None, ge=0, le=1
    )
    otel_resource_attributes: str | None = setting(
        "Traces",
        "What each trace says of this process: deployment.environment.name=production,...",
        default=None,
    )

    sentry_dsn: str | None = setting(
        "Error reports",
        "Send each logged error to Sentry, or a service that speaks its protocol.",
        default=None,
        pattern=r"^https?://[^@/]+@.+/[0-9]+$",
        **HIDDEN,
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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read a file that is named by `_env_file` alone: it belongs to another machine."""
        assert isinstance(dotenv_settings, DotEnvSettingsSource)
        if dotenv_settings.env_file != ENV_FILES:
            return (dotenv_settings,)
        return init_settings, env_settings, dotenv_settings, file_secret_settings

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
    """Read the settings; `overrides` (from the command line) win.

    With `_env_file`, only that file is read. Raises SettingsError, which lists every problem with
    its variable and its remedy.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
#% if cookiecutter.__containers
    if SECRETS.is_dir():
        given["_secrets_dir"] = SECRETS
#% endif
    file = given.get("_env_file")
    try:
        return kind(**given)
    except ValidationError as error:
        where = str(file or "environment, or .env in this folder")
        raise SettingsError(explain(error, kind, where)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable([file] if file else ENV_FILES) or error from None


def read_env_file(kind: type[ProcessSettings], file: str | Path) -> Mapping[str, str | None]:
    """Return the settings in a file, by lower-case names, as each process reads it.

    A missing file has none. Raises SettingsError if it cannot be read.
    """
    try:
        return DotEnvSettingsSource(kind, env_file=file).env_vars
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable([file]) or error from None


def source_of(kind: type[ProcessSettings], name: str) -> str | None:
    """Return the source of a process's setting: ENVIRONMENT, one of ENV_FILES, or None."""
    if EnvSettingsSource(kind).env_vars.get(name) is not None:
        return ENVIRONMENT
    for file in reversed(ENV_FILES):
        if read_env_file(kind, file).get(name) is not None:
            return file
    return None


def unreadable(files: Iterable[str | Path]) -> SettingsError | None:
    """Return an error that names the first unreadable file and the reason, or None."""
    for file in map(Path, files):
        try:
            file.read_bytes().decode()
        except FileNotFoundError:
            continue
        except OSError as error:
            return SettingsError(f"{file} cannot be read: {error.strerror}. Check: ls -l")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            return SettingsError(f"{file}, line {line} is not UTF-8. Save the file as UTF-8.")
    return None


def explain(error: ValidationError, kind: type[ProcessSettings], where: str) -> str:
    """Return the problems of the settings, one line each, without any value."""
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "no such setting; .env.example lists all"
        elif problem["type"] == "missing":
            message = "it has no value"
        if name == "cookie_secret":
            message += f"; make one with `{NEW_SECRET}` and put it into .env"
        elif name in kind.model_fields:
            message += f". {kind.model_fields[name].description}"
        lines.append(f"  {name.upper()}: {message}")
    return "\n".join([f"The settings are wrong ({where}):", *sorted(lines)])


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
