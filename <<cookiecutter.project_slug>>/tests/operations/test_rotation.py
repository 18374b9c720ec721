"""The rotation of the cookie secret, step by step."""

import errno
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from << cookiecutter.__package_name >>.accounts import SESSION_MAX_AGE
from << cookiecutter.__package_name >>.operations import rotation
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
    """A `.env` with one secret and other settings."""
    env = folder / ".env"
    env.write_text(f"# Mine\nPORT=1234\nCOOKIE_SECRET={SECRET}\nDEBUG=false\n")
    env.chmod(0o600)
    return env


def keys() -> dict[int, str]:
    """Return the versions that a process started now accepts, in order."""
    return load_settings().cookie_secret


def test_three_steps_replace_the_secret(env: Path) -> None:
    """Accept the new, sign with the new, drop the old: each step says what to do next."""
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
    """The last step waits until every cookie of the old secret has expired, unless forced."""
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
    """Without the date the age of the cookies is unknown: a manual rotation ends manually."""
    new = "20300101:for-tests-only-next-9876543210-zyxwvutsrqponm"
    env.write_text(f"COOKIE_SECRET={new},{SECRET}\n")
    with pytest.raises(SettingsError, match="still needed for up to 31 days"):
        rotate(env, LATER)


def test_a_second_rotation_on_the_same_day_has_another_version(env: Path) -> None:
    """Versions only grow: no version ever stands for two secrets."""
    for drop_now in (False, False, True, False):
        rotate(env, DAY, drop_now=drop_now)
    assert list(keys()) == [20300131, 20300132]


@pytest.mark.parametrize(
    "text",
    [
        "COOKIE_SECRET='{}'",
        'COOKIE_SECRET="{}"\n',
        "export COOKIE_SECRET={}",
        "COOKIE_SECRET = {}  \n",
        "  COOKIE_SECRET={}",
        "COOKIE_SECRET={} # mine\n",
        "'COOKIE_SECRET'={}",
        "cookie_secret={}",
        "\ufeffCOOKIE_SECRET={}",
        "\ufeff# Mine\r\nCOOKIE_SECRET={}\r\nPORT=1234\r\n",
        "COOKIE_SECRET=1:one-that-does-not-count\nPORT=1234\nCOOKIE_SECRET={}\n",
        "COOKIE_SECRET=changeme\n\n\ncookie_secret={}\n",
        "COOKIE_SECRET={}\nCOOKIE_SECRET='never closed\n",
    ],
)
def test_every_way_to_write_the_line_is_understood(env: Path, text: str) -> None:
    """The line that the service reads is replaced, in a form that the service reads."""
    env.write_bytes(text.format(SECRET).encode())
    assert list(keys()) == [1]
    old = keys()
    assert rotate(env, DAY).startswith("Step 1")
    assert list(keys()) == [1, 20300131]
    assert keys()[1] == old[1] == parse_cookie_secret(SECRET)[1]
    assert rotate(env, DAY).startswith("Step 2")
    assert list(keys()) == [20300131, 1]
    assert rotate(env, LATER).startswith("Step 3")
    assert list(keys()) == [20300131]
    assert env.read_bytes().decode().count(parse_cookie_secret(SECRET)[1]) == 0


def test_all_else_stays_to_the_byte(env: Path) -> None:
    """Byte-order mark, line ends, blank lines, comments and other lines stay."""
    before = "\ufeff# für uns\r\n\r\nCOOKIE_SECRET={}\r\n\r\n  PORT = 1234 # x\r\n\r\n{}{}\r\n# end"
    env.write_bytes(before.format("1:changeme", "export cookie_secret=", SECRET).encode())
    rotate(env, DAY)
    after = env.read_bytes().decode()
    (value,) = [line for line in after.split("\r\n") if "COOKIE_SECRET" in line]
    expected = before.replace("COOKIE_SECRET={}\r\n", "").format(value, "")
    assert after == expected
    assert value.startswith(f"export COOKIE_SECRET={SECRET},20300131:")


def test_a_link_stays_a_link(env: Path) -> None:
    """Releases on a server share one `.env` by links."""
    env.rename(env.with_name("shared.env"))
    env.symlink_to("shared.env")
    rotate(env, DAY)
    assert env.is_symlink()
    assert list(keys()) == [1, 20300131]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "There is no file .*--file"),
        ("PORT=1\n", "has no COOKIE_SECRET"),
        ("#COOKIE_SECRET=1:x\n", "has no COOKIE_SECRET"),
        ("COOKIE_SECRET=\n", "has no COOKIE_SECRET"),
        ("COOKIE_SECRET\n", "has no COOKIE_SECRET"),
        ("COOKIE_SECRET=1:x\n", "version 1 is too easy to guess"),
        ("COOKIE_SECRET=changeme\n", "is not of the form"),
        (f"COOKIE_SECRET={SECRET}\nPORT=none\n", "PORT"),
        (f"# f\xfcr uns\nCOOKIE_SECRET={SECRET}\n", r"\.env, line 1 is not UTF-8. Save the file"),
    ],
)
@pytest.mark.parametrize("name", [".env", "production.env"])
def test_a_file_without_a_good_secret_is_left_alone(
    env: Path, name: str, text: str | None, reason: str
) -> None:
    """The error names what is wrong, and nothing is written."""
    file = env.rename(env.with_name(name))
    file.unlink()
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=reason):
        rotate(file, DAY)
    assert (file.read_bytes() if file.exists() else None) == (text and text.encode("latin-1"))


def test_a_secret_overridden_by_another_file_is_not_rotated(env: Path) -> None:
    """Processes would still use the one in `.env.release`; that file itself can be rotated."""
    release = env.with_name(".env.release")
    release.write_text(f"cookie_secret={SECRET.replace('1:', '2:', 1)}\n")
    before = env.read_bytes()
    with pytest.raises(SettingsError, match=r"is set in \.env\.release, which wins over .*\.env"):
        rotate(env, DAY)
    assert env.read_bytes() == before
    rotate(release, DAY)
    assert list(keys()) == [2, 20300131]
    assert env.read_bytes() == before


@pytest.mark.parametrize("name", ["COOKIE_SECRET", "cookie_secret"])
def test_a_secret_overridden_by_the_environment_is_not_rotated(
    env: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Processes would still use the environment's secret; an empty variable counts as unset."""
    before = env.read_bytes()
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(SettingsError, match="is set in the environment, which wins"):
        rotate(env, DAY)
    assert env.read_bytes() == before
    monkeypatch.setenv(name, "")
    assert rotate(env, DAY).startswith("Step 1")


def test_a_file_for_servers_is_judged_by_itself(env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes on servers read neither this machine's environment nor its `.env`."""
    servers = env.with_name("production.env")
    servers.write_text(f"COOKIE_SECRET={SECRET.replace('1:', '7:', 1)}\n")
    before = env.read_bytes()
    monkeypatch.setenv("COOKIE_SECRET", "nonsense")
    monkeypatch.setenv("PORT", "nonsense")
    rotate(servers, DAY)
    assert list(load_settings(_env_file=servers).cookie_secret) == [7, 20300131]
    assert env.read_bytes() == before


def test_a_step_that_has_no_effect_is_reverted(env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step counts only if the settings then have the new secret; else the file is restored."""
    before = env.read_bytes()
    monkeypatch.setattr(rotation, "with_secrets", lambda text, *_: text + "PORT=1\n")
    with pytest.raises(SettingsError, match=r"is as it was: .* would not take that"):
        rotate(env, DAY)
    assert env.read_bytes() == before


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_full_disk_loses_nothing(env: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The old file stays until the new one is complete on disk; no temporary file remains."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = env.read_bytes()
    if step == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        real = os.fdopen
        full_disk = Path("/dev/full")

        def fdopen(descriptor: int, mode: str) -> Any:
            os.dup2(os.open(full_disk, os.O_WRONLY), descriptor)
            return real(descriptor, mode)

        monkeypatch.setattr(os, "fdopen", fdopen)
        monkeypatch.setattr(os, "fchown", lambda *_: None)
    with pytest.raises(SettingsError, match="cannot be replaced: No space left on device"):
        rotate(env, DAY)
    assert env.read_bytes() == before
    assert [path.name for path in env.parent.iterdir()] == [".env"]
