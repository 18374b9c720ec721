"""The security log."""

import json
import logging
from collections.abc import Callable

import pytest

from << cookiecutter.__package_name >>.accounts import Client
from << cookiecutter.__package_name >>.accounts.security_log import record


@pytest.mark.parametrize(
    "separator", ["\n", "\r", "\x00", "\x1b[2J", "\x85", "\u2028", "\u202e", "\udcff"]
)
def test_log_lines_cannot_be_forged(logs: Callable[[], list[str]], separator: str) -> None:
    """ASVS 7.3.1: an event is one line of printable ASCII, whatever a client sends."""
    sent = f"192.0.2.1{separator}forged"
    record("signed_in", Client(sent, request_id=sent), account=sent)
    (line,) = logs()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["address"] == sent


def test_no_level_silences_the_security_log() -> None:
    """LOG_LEVEL applies to the other logs only."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        assert logging.getLogger("security").isEnabledFor(logging.INFO)
    finally:
        root.setLevel(level)
