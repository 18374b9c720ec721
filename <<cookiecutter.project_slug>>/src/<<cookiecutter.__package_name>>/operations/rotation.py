# Part of the template: you need not edit this file.
"""Replacing the cookie secret in three steps, without ending a session.

1. Accept the new secret. No process signs with it yet, so a process with the old settings can
   still read every cookie.
2. Sign with the new one: each request renews its cookie.
3. Drop the old one, when all cookies that it signed have been renewed or have expired.

After each step the processes are restarted one after another, on all servers, before the next
step. `make deploy` refuses a step that comes too early.
"""

import contextlib
import io
import os
import re
import tempfile
from datetime import date, timedelta
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from ..accounts import SESSION_MAX_AGE
#% if cookiecutter.__containers
from ..runtime.settings import (
    ENV_FILES,
    SettingsError,
    new_secret,
    parse_cookie_secret,
    read_env_file,
    source_of,
)
#% else
from ..runtime.settings import ENV_FILES, SettingsError, new_secret, read_env_file, source_of
#% endif
from ..settings import Settings, load_settings

SETTING = "cookie_secret"
#% if cookiecutter.__containers
NAME = "COOKIE_SECRET="
#% endif
RESTART = "Restart all processes (of servers: make deploy)"

# The comment that step 2 writes above the setting.
NOTE = "# The first secret signs since {}."
NOTES = re.compile(r"^# The first secret signs since ([0-9-]{10})\.(?:\r?\n|$)", re.MULTILINE)


def rotate(file: Path, today: date, *, drop_now: bool = False) -> str:
    """Take the next step in a file of settings and return what to do next.

    The file is one that processes here read, such as `.env`, or one for servers. It is replaced
    atomically and stays private. `drop_now` takes the last step even if cookies signed with the
    old secret may still be valid. Raises SettingsError, and leaves the file unchanged, if the
    service does not take the secret from it, or would not take the new one.
    """
    # A link stays a link: its target is replaced.
    file = file.resolve()
    keys = secrets_in(file)
    # A byte-order mark and the line ends of the file stay.
    text = << "as_settings(file, file.read_bytes().decode())" if cookiecutter.__containers else "file.read_bytes().decode()" >>

    since = None
    signing, newest = next(iter(keys)), max(keys)
    if len(keys) == 1:
        version = max(int(today.strftime("%Y%m%d")), newest + 1)
        keys[version] = new_secret()
        done = f"Step 1 of 3: a new secret is accepted. {RESTART}, then do step 2."
    elif signing != newest:
        keys = {newest: keys.pop(newest)} | keys
        since = today
        done = (
            f"Step 2 of 3: the new secret signs. {RESTART}; do step 3 when every cookie"
            f" has been renewed or has expired, in {SESSION_MAX_AGE.days} days."
        )
    else:
        wait = days_left(NOTES.findall(text.removeprefix("\ufeff")), today)
        if wait and not drop_now:
            raise SettingsError(
                f"The old secret is still needed for up to {wait} days: users without a request"
                " since step 2 would be signed out. To drop it anyway, add --drop-now."
            )
        keys = {newest: keys[newest]}
        done = f"Step 3 of 3: the old secret is dropped. {RESTART}; that was all."

    replace(file, with_secrets(text, keys, since))
    try:
        if list(secrets_in(file).items()) != list(keys.items()):
            raise SettingsError("COOKIE_SECRET is another one.")
    except SettingsError as error:
        replace(file, text)
        raise SettingsError(
            f"{file} is as it was: with the new secret in it, a process would not take that. {error}"
        ) from None
    return done


#% if cookiecutter.__containers
def is_bare(file: Path) -> bool:
    """Tell whether a file holds the secret alone, as containers get it, below a note on its age."""
    return file.name == SETTING


def as_settings(file: Path, text: str) -> str:
    """Return the text of a file with the name of the setting before the secret."""
    before_value = r"^(?=[^#\s])"
    return re.sub(before_value, NAME, text, count=1, flags=re.MULTILINE) if is_bare(file) else text


#% endif
def secrets_in(file: Path) -> dict[int, str]:
    """Return the cookie secrets that a process takes from this file. Raises SettingsError."""
#% if cookiecutter.__containers
    if is_bare(file) and file.exists():
        try:
            return parse_cookie_secret(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SettingsError(f"{file}: {error}.") from None
#% endif
    if read_env_file(Settings, file).get(SETTING) is None:
        what = f"{file} has no COOKIE_SECRET" if file.exists() else f"There is no file {file}"
        raise SettingsError(f"{what}. Name the file in which it is set: --file FILE.")
    if file not in (Path(name).resolve() for name in ENV_FILES):
        return load_settings(_env_file=file).cookie_secret
    source = source_of(Settings, SETTING)
    if source is None or file != Path(source).resolve():
        raise SettingsError(
            f"COOKIE_SECRET is set in {source}, which wins over {file}. Remove it there; or rotate"
            " it there: add NEW behind OLD, then put it in front, then drop OLD, and restart after"
            " each step."
        )
    return load_settings().cookie_secret


def days_left(since: list[str], today: date) -> int:
    """Return for how many more days cookies from before the last of these days may be valid."""
    start = today
    with contextlib.suppress(ValueError):
        start = date.fromisoformat(max(since, default=""))
    # One day more, as the processes were restarted some time after the file was written.
    return max(0, (start + SESSION_MAX_AGE + timedelta(days=1) - today).days)


def with_secrets(text: str, keys: dict[int, str], since: date | None) -> str:
    """Return the text of a file with these secrets and without other changes.

    Of several lines that set COOKIE_SECRET the last remains, as their spelling decides which one
    counts.
    """
    mark = text[: text.startswith("\ufeff")]
    bindings = list(parse_stream(io.StringIO(NOTES.sub("", text.removeprefix(mark)), newline="")))
    (*others, last) = [place for place, one in enumerate(bindings) if is_secret(one)]
    parts = [one.original.string for one in bindings]
    for place in others:
        parts[place] = blank_lines(parts[place])
    end = parts[last].removeprefix(parts[last].rstrip("\r\n"))
    note = NOTE.format(since) + (end or "\n") if since else ""
    export = "export " if re.match(r"\s*export\s", parts[last]) else ""
    value = ",".join(f"{version}:{secret}" for version, secret in keys.items())
    parts[last] = f"{blank_lines(parts[last])}{note}{export}COOKIE_SECRET={value}{end}"
    return mark + "".join(parts)


def is_secret(binding: Binding) -> bool:
    return binding.key is not None and binding.key.lower() == SETTING


def blank_lines(text: str) -> str:
    """Return the blank lines that a line of settings begins with, as dotenv divides them."""
    found = re.match(r"(?:[^\S\r\n]*\r?\n)*", text)
    return found[0] if found else ""


def replace(file: Path, text: str) -> None:
    """Replace a private file atomically. Raises SettingsError."""
    new = None
    try:
        owner = file.stat()
        # git ignores files that end in .env.
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".new-", suffix=".env")
        new = Path(name)
#% if cookiecutter.__containers
        if is_bare(file):
            # The user of a container reads it; others do not pass the folder.
            os.fchmod(descriptor, owner.st_mode & 0o777)
            text = text.replace(NAME, "", 1)
#% endif
        with os.fdopen(descriptor, "wb") as stream:
            if os.geteuid() == 0:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            stream.write(text.encode())
            stream.flush()
            os.fsync(descriptor)
        new.replace(file)
    except OSError as error:
        raise SettingsError(
            f"{file} cannot be replaced: {error.strerror}. It is unchanged; fix that and try again."
        ) from None
    finally:
        if new:
            new.unlink(missing_ok=True)
