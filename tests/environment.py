"""Python environments with what is locked for projects and their audits, each made once."""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from tests.bake import TEMPLATE

CACHE = TEMPLATE / ".cache"


def environment(
    project: Path, python: str | Path = sys.executable, *, compiled: bool = True
) -> Path:
    """The folder of programs of an environment with the project's locked requirements.

    The project itself is not in it, so projects share it; treat it as read-only.
    """
    return locked_environment(project / "requirements-dev.txt", python, compiled=compiled)


def tools(name: str) -> Path:
    """The folder of programs of an environment with the tools locked in requirements-NAME.txt."""
    lock = TEMPLATE / "tests" / f"requirements-{name}.txt"
    return locked_environment(lock, compiled=False)


def locked_environment(
    lock: Path, python: str | Path = sys.executable, *, compiled: bool = True
) -> Path:
    """The folder of programs of an environment with exactly what is locked.

    A service starts in a third of the time where Python finds its packages compiled.
    """
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
        if compiled and not (made / "compiled").exists():
            everything = ("-m", "compileall", "-q", "-j", "0", made / "lib")
            # Some packages hold templates of Python, which nobody can compile.
            subprocess.run([made / "bin" / "python", *everything], capture_output=True, check=False)
            (made / "compiled").touch()
    return made / "bin"


def uv(*arguments: str | Path) -> None:
    # It trusts what the machine trusts, as pip does.
    trusting = os.environ | {"UV_SYSTEM_CERTS": "true"}
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], check=True, env=trusting)
