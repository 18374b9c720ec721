"""Your settings: one table. `runtime/settings.py` has those of every process, and reads them all."""

from typing import Any

from .runtime.settings import ProcessSettings, load


class Settings(ProcessSettings):
    """A row for each setting: its type, `setting(GROUP, HELP, default=...)`.

    A row without a default must be given. `make fix` brings new ones to `.env.example`.
    """


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; what is given here (from the command line) wins.

    Raises SettingsError, which lists every problem with its variable and its remedy.
    """
    return load(Settings, **overrides)
