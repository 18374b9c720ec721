"""Python environments with what is locked for projects and their audits, each made once."""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

from tests.bake import TEMPLATE

CACHE = TEMPLATE / ".cache"


def environment(project: Path, python: str | Path = sys.executable) -> Path:
    """The folder of programs of an environment with the project's locked requirements.

    The project itself is not in it, so projects share it; treat it as read-only.
    """
    return locked_environment(project / "requirements-dev.txt", python)


def tools(name: str) -> Path:
    """The folder of programs of an environment with the tools locked in requirements-NAME.txt."""
    return locked_environment(TEMPLATE / "tests" / f"requirements-{name}.txt")


def locked_environment(lock: Path, python: str | Path = sys.executable) -> Path:
    """The folder of programs of an environment with exactly what is locked."""
    version = subprocess.run([python, "-V"], capture_output=True, check=True).stdout
    made = CACHE / "environments" / hashlib.sha256(version + lock.read_bytes()).hexdigest()[:16]
    made.parent.mkdir(parents=True, exist_ok=True)
    # Tests run side by side; one of them makes it and the others wait.
    with made.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (made / "ready").exists():
            uv("venv", "--clear", "--python", python, made)
            uv("pip", "install", "--python", made, "--require-hashes", "-r", lock)
            (made / "ready").touch()
    return made / "bin"


def uv(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], check=True)
