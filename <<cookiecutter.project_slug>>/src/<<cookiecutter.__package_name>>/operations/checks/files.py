# Part of the template: you need not edit this file.
"""The checks on files and folders: other users must not read secrets or change the service.

The mode and the members of the group decide what others may do; access lists are ignored.
"""

import functools
import grp
import os
import pwd
import shlex
import stat
import subprocess
import sysconfig
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

#% if cookiecutter.database == "sqlite"
from ...engine import path
#% endif
from ...runtime.settings import ENV_FILES, read_env_file
from ...settings import Settings
from .findings import Finding, error, unchecked

# Permissions in a mode, for others; those of the group are three bits to the left.
READ, WRITE, PASS = 4, 2, 1
INVENTORY = Path("deploy/inventory")
DATA = Path("var")
PACKAGE = Path(__file__).resolve().parents[2]
# The settings that are hidden in output.
SECRETS = {name for name, row in Settings.model_fields.items() if not row.repr}


def settings_files(settings: Settings) -> Iterator[Finding]:
    """F001: no other user can read files with secrets, or change settings."""
    for file in (*map(Path, ENV_FILES), *INVENTORY.glob("*.env")):
        if not file.exists():
            continue
        # A deploy writes the name of the release here, which is not secret.
        names = read_env_file(Settings, file).keys() if file.name == ".env.release" else SECRETS
        private = bool(names & SECRETS)
        if file.stat().st_mode & 0o077 if private else others_may(file, WRITE):
            yield error(
                "F001",
                f"Others on this machine can {'read or ' * private}change {file}.",
                f"chmod {'600' if private else 'go-w'} {file}",
            )


<% if cookiecutter.database == "sqlite" %>
def database_file(settings: Settings) -> Iterator[Finding]:
    """F002: no other user can read or change the database."""
    for file in database_files(settings):
        if rights := exposure(file):
            yield error(
                "F002",
                f"Others on this machine can {rights} the database {file}.",
                f"chmod go-rwx {shlex.quote(str(file))}",
            )


<% endif %>
def tracked_files(settings: Settings) -> Iterator[Finding]:
    """F006, F003: git lists its files, and none of them is a file of settings."""
    here = Path.cwd()
    if not any((folder / ".git").exists() for folder in (here, *here.parents)):
        return
    problem = ""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=False)
        if listed.returncode:
            problem = " ".join(listed.stderr.decode(errors="replace").split())
    except FileNotFoundError:
        problem = "it is not installed."
    if problem:
        yield unchecked(
            "F006",
            f"git does not say whether it tracks files of settings: {problem}",
            "Run `check` where git works in this folder.",
        )
        return
    for name in map(os.fsdecode, listed.stdout.split(b"\0")):
        last = name.rpartition("/")[2]
        if fnmatch(last, "*.env") or (fnmatch(last, ".env.*") and last != ".env.example"):
            yield error(
                "F003",
                f"git tracks {name}, so everyone with the repository has its secrets.",
                f"git rm --cached {shlex.quote(name)}, then replace what was in it: the cookie secret"
                " with `secret rotate --drop-now`, passwords where they are set.",
            )


def data_files(settings: Settings) -> Iterator[Finding]:
    """F004: no other user can read or change backups and logs."""
    root = DATA.resolve()
#% if cookiecutter.database == "sqlite"
    # F002 checks these.
    database = [file.resolve() for file in database_files(settings)]
#% endif
    exposed = [
        file
        for folder, _, names in os.walk(root)
        for file in (Path(folder, name) for name in sorted(names))
        # A process id is not secret.
        if file.is_file() and not file.is_symlink() and file.suffix != ".pid"
#% if cookiecutter.database == "sqlite"
        if file not in database
#% endif
        if exposure(file)
    ]
    if exposed:
        more = f" and {len(exposed) - 1} more in var/" if len(exposed) > 1 else ""
        yield error(
            "F004",
            f"Others on this machine can {exposure(exposed[0])} {exposed[0]}{more}.",
            f"chmod go-rwx {shlex.quote(str(root))}",
        )


def folders(settings: Settings) -> Iterator[Finding]:
    """F005: no other user can replace settings, data or code, or add a file beside them."""
    places = {Path.cwd(), PACKAGE, Path(sysconfig.get_path("purelib")).resolve()}
    places.update(file.resolve().parent for file in map(Path, ENV_FILES) if file.exists())
    if DATA.exists():
        places.add(DATA.resolve())
#% if cookiecutter.database == "sqlite"
    places.update(file.resolve().parent for file in database_files(settings))
#% endif
    above = {folder for place in places for folder in place.parents}
    for folder in sorted(places | above):
        reached = all(others_may(one, PASS) for one in (folder, *folder.parents))
        # With this bit, as on /tmp, only its owner can move a file in the folder.
        kept = folder not in places and folder.stat().st_mode & stat.S_ISVTX
        if kept or not reached or not others_may(folder, WRITE):
            continue
        yield error(
            "F005",
            f"Others on this machine can write into {folder}, and so replace settings, data or code.",
            f"chmod go-w {shlex.quote(str(folder))}",
        )


CHECKS = (
    settings_files,
#% if cookiecutter.database == "sqlite"
    database_file,
#% endif
    tracked_files,
    data_files,
    folders,
)


<% if cookiecutter.database == "sqlite" %>
def database_files(settings: Settings) -> list[Path]:
    """Return all files of the database; the last changes are not in the first one."""
    database = path(settings.database_url)
    suffixes = ("", "-wal", "-shm", "-journal")
    return [database.with_name(database.name + suffix) for suffix in suffixes] if database else []


<% endif %>
def exposure(file: Path) -> str:
    """Return what others can do with this file: "read", "change", both or nothing.

    Members of a group with read permission are there on purpose.
    """
    above = file.resolve().parents
    words = [
        word
        for word, right, group in (("read", READ, False), ("change", WRITE, True))
        if others_may(file, right, group=group)
        if all(others_may(folder, PASS, group=group) for folder in above)
    ]
    return " and ".join(words)


def others_may(file: Path, right: int, *, group: bool = True) -> bool:
    """Return whether users other than the owner, root and this one have a permission."""
    try:
        status = file.stat()
    except FileNotFoundError:
        # Logs are rotated, and files beside a database come and go, while this runs.
        return False
    if status.st_mode & right:
        return True
    members = group_members(status.st_gid) - {status.st_uid, os.geteuid()}
    return bool(group and status.st_mode >> 3 & right and members)


@functools.cache
def group_members(group: int) -> frozenset[int]:
    """Return the users in a group, besides root. Many systems give each user a group of its own."""
    if group == 0:
        return frozenset()
    users = {user.pw_name: user for user in pwd.getpwall()}
    try:
        named = grp.getgrgid(group).gr_mem
    except KeyError:
        named = []
    members = {users[name].pw_uid for name in named if name in users}
    members |= {user.pw_uid for user in users.values() if user.pw_gid == group}
    return frozenset(members - {0})
