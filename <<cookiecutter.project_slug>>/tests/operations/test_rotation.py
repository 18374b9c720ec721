"""The rotation of the cookie secret, a step at a time."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from << cookiecutter.__package_name >>.accounts import SESSION_MAX_AGE
from << cookiecutter.__package_name >>.operations.rotation import rotate
from << cookiecutter.__package_name >>.runtime.settings import (
    SettingsError,
    parse_cookie_secret,
)
from << cookiecutter.__package_name >>.settings import load_settings

from ..conftest import SECRET

DAY = date(2030, 1, 31)
LATER = DAY + SESSION_MAX_AGE + timedelta(days=1)


@pytest.fixture
def env(folder: Path) -> Path:
    """A `.env` with one secret and more."""
    env = folder / ".env"
    env.write_text(f"# Mine\nPORT=1234\nCOOKIE_SECRET={SECRET}\nDEBUG=false\n")
    env.chmod(0o600)
    return env


def keys() -> dict[int, str]:
    """What a process that is started now accepts, in order."""
    return load_settings().cookie_keys


def test_three_steps_replace_the_secret(env: Path) -> None:
    """Accept the new, sign with the new, drop the old: each step says what to do then."""
    old = keys()
    assert rotate(env, DAY).startswith("Step 1 of 3: a new secret is accepted. Restart")
    assert list(keys()) == [1, 20300131]
    accepted = keys()
    assert accepted[1] == old[1]

    assert rotate(env, DAY).startswith("Step 2 of 3: the new secret signs. Restart")
    assert list(keys()) == [20300131, 1]
    assert keys() == accepted

    assert rotate(env, LATER).startswith("Step 3 of 3: the old secret is dropped. Restart")
    assert keys() == {20300131: accepted[20300131]}


def test_everything_else_in_the_file_stays(env: Path) -> None:
    """Only the one line changes, and the file stays private."""
    for day in (DAY, DAY, LATER):
        rotate(env, day)
        text = env.read_text()
        assert text.startswith("# Mine\nPORT=1234\n")
        assert text.endswith("\nDEBUG=false\n")
        assert env.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in env.parent.glob(".env*")] == [".env"]
    assert "signs since" not in text


def test_the_old_secret_is_kept_as_long_as_it_is_needed(env: Path) -> None:
    """The last step waits until no cookie of the old secret can be about, unless it is forced."""
    rotate(env, DAY)
    rotate(env, DAY)
    kept = keys()
    for day, left in ((DAY, 31), (LATER - timedelta(days=1), 1)):
        with pytest.raises(SettingsError, match=f"still needed for up to {left} days"):
            rotate(env, day)
    assert keys() == kept
    rotate(env, DAY, drop_now=True)
    assert list(keys()) == [20300131]


def test_without_the_date_of_the_second_step_nothing_is_dropped(env: Path) -> None:
    """A rotation done by hand is finished by hand: nobody can tell how old the cookies are."""
    new = "20300101:for-tests-only-next-9876543210-zyxwvutsrqponm"
    env.write_text(f"COOKIE_SECRET={new},{SECRET}\n")
    with pytest.raises(SettingsError, match="still needed for up to 31 days"):
        rotate(env, LATER)


def test_a_second_rotation_on_the_same_day_has_another_version(env: Path) -> None:
    """Versions only grow: a cookie never meets another secret under its own version."""
    for drop_now in (False, False, True, False):
        rotate(env, DAY, drop_now=drop_now)
    assert list(keys()) == [20300131, 20300132]


@pytest.mark.parametrize(
    "line",
    [
        "COOKIE_SECRET='{}'",
        'COOKIE_SECRET="{}"',
        "export COOKIE_SECRET={}",
        "COOKIE_SECRET = {}  ",
        "  COOKIE_SECRET={}",
    ],
)
def test_every_way_to_write_the_line_is_understood(env: Path, line: str) -> None:
    """Whatever the settings can read can be rotated."""
    env.write_text(line.format(SECRET))
    assert list(keys()) == [1]
    rotate(env, DAY)
    assert list(keys()) == [1, 20300131]
    assert keys()[1] == parse_cookie_secret(SECRET)[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "Cannot read .*: No such file"),
        ("PORT=1\n", "has no COOKIE_SECRET"),
        ("#COOKIE_SECRET=1:x\n", "has no COOKIE_SECRET"),
        ("COOKIE_SECRET=\n", "is not of the form"),
        ("COOKIE_SECRET=1:changeme\n", "version 1 is too easy to guess"),
    ],
)
def test_a_file_without_a_good_secret_is_left_alone(
    env: Path, text: str | None, reason: str
) -> None:
    """What cannot be rotated is told, and nothing is written."""
    env.unlink()
    if text is not None:
        env.write_text(text)
    with pytest.raises(SettingsError, match=reason):
        rotate(env, DAY)
    assert (env.read_text() if env.exists() else None) == text
