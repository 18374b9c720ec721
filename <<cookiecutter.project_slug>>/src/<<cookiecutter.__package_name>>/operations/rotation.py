# Part of the template: you need not edit this file.
"""Replacing the cookie secret without signing anybody out, in three steps.

1. Accept the new secret: a process that still runs with the old settings never sees a cookie that it
   cannot read, because nobody signs with the new one yet.
2. Sign with the new one: who comes by gets a cookie with the new signature.
3. Drop the old one, when all cookies that it signed have been renewed or have expired.

After each step the processes are restarted one after another, on all servers; then comes the next
step. `make deploy` refuses a step that comes too early.
"""

import os
import re
from datetime import date, timedelta
from pathlib import Path

from ..accounts import SESSION_MAX_AGE
from ..runtime.settings import SettingsError, new_secret, parse_cookie_secret

RESTART = "Restart all processes (of servers: make deploy)"

# The setting, and the note above it that step 2 leaves.
LINE = re.compile(
    r"^(?:# The first secret signs since (?P<since>[0-9-]{10})\.\n)?"
    r"[ \t]*(?:export[ \t]+)?COOKIE_SECRET[ \t]*=[ \t]*(?P<quote>['\"]?)(?P<value>.*?)(?P=quote)[ \t]*$",
    re.MULTILINE,
)


def rotate(env: Path, today: date, *, drop_now: bool = False) -> str:
    """Take the next step in the `.env` file and return what to do then.

    The file is replaced in one go and stays private. `drop_now` takes the last step even while
    cookies signed with the old secret may still be about. Raises SettingsError if the file has no
    good COOKIE_SECRET.
    """
    try:
        text = env.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"Cannot read {env}: {error.strerror}.") from None
    line = LINE.search(text)
    if line is None:
        raise SettingsError(f"{env} has no COOKIE_SECRET; it must be replaced where it is set.")
    try:
        keys = parse_cookie_secret(line["value"])
    except ValueError as error:
        raise SettingsError(f"COOKIE_SECRET in {env}: {error}.") from None

    note = ""
    signing, newest = next(iter(keys)), max(keys)
    if len(keys) == 1:
        version = max(int(today.strftime("%Y%m%d")), newest + 1)
        keys[version] = new_secret()
        done = f"Step 1 of 3: a new secret is accepted. {RESTART}, then do step 2."
    elif signing != newest:
        keys = {newest: keys.pop(newest)} | keys
        note = f"# The first secret signs since {today.isoformat()}.\n"
        done = (
            f"Step 2 of 3: the new secret signs. {RESTART}; do step 3 when every cookie"
            f" has been renewed or has expired, in {SESSION_MAX_AGE.days} days."
        )
    else:
        wait = days_left(line["since"], today)
        if wait and not drop_now:
            raise SettingsError(
                f"The old secret is still needed for up to {wait} days: whoever did not come by"
                " since step 2 would be signed out. To drop it all the same, add --drop-now."
            )
        keys = {newest: keys[newest]}
        done = f"Step 3 of 3: the old secret is dropped. {RESTART}; that was all."

    value = ",".join(f"{version}:{secret}" for version, secret in keys.items())
    replace(env, text[: line.start()] + f"{note}COOKIE_SECRET={value}" + text[line.end() :])
    return done


def days_left(since: str | None, today: date) -> int:
    """Return for how many days cookies of before `since` may still be about."""
    try:
        start = date.fromisoformat(since or "")
    except ValueError:
        start = today
    # The processes were restarted some time after the file was written: a day more.
    return max(0, (start + SESSION_MAX_AGE + timedelta(days=1) - today).days)


def replace(file: Path, text: str) -> None:
    """Replace a private file so that at any moment it is whole, old or new."""
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    owner = file.stat()
    if os.geteuid() == 0:
        os.chown(new, owner.st_uid, owner.st_gid)
    new.replace(file)
