"""The programs that tests need: missing ones are named at the start.

A test that needs a missing part is skipped; where CI is set it fails.
"""

import os
import shutil
from pathlib import Path

# Debian keeps servers where only root's PATH looks.
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
PROGRAMS = {
    "nginx": "nginx's files and stacks",
    "haproxy": "HAProxy's files and stacks",
    "chromium": "pages in a browser",
    "systemd-analyze": "systemd's units",
    "slowhttptest": "slow clients",
    "pgbouncer": "PostgreSQL behind a pooler",
    "node": "single sign-on at a real provider",
    "npm": "single sign-on at a real provider",
    "dockerd": "deploys to servers",
    "docker-compose": "one machine with Docker Compose",
    "debootstrap": "deploys to servers",
}


def lacking() -> list[str]:
    """Return a line for each missing part: the claims not tested, and how to install it."""
    lines = [
        f"not here: {program}, so no {shown}; get it by tests/install-system-packages {program}"
        for program, shown in PROGRAMS.items()
        if not shutil.which(program, path=PATH)
    ]
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) and not shutil.which("initdb"):
        lines.append(
            "not here: PostgreSQL, so no services on it; "
            "get it by tests/install-system-packages initdb"
        )
    if reason := no_servers():
        lines.append(f"not here: {reason}, so no deploys to servers")
    return lines


def no_servers() -> str:
    """Return why this machine cannot run servers in containers, or an empty text."""
    if os.geteuid():
        return "root's rights (run `sudo make test-servers`)"
    # The unified hierarchy, or the one of before, in which systemd has a folder.
    if not any(os.access(f"/sys/fs/cgroup{own}", os.W_OK) for own in ("", "/systemd")):
        return "cgroups that can be written, which systemd in a container needs (--privileged)"
    return ""
