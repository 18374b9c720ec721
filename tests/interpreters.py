"""The Pythons of this machine that a generated project supports."""

import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

SUPPORTED = ("3.11", "3.12", "3.13")


@functools.cache
def found() -> dict[str, Path]:
    """Version to interpreter, for each supported version that really runs here."""
    return {
        version: python
        for version in SUPPORTED
        for python in [next(filter(functools.partial(runs, version), candidates(version)), None)]
        if python
    }


def missing() -> list[str]:
    return [version for version in SUPPORTED if version not in found()]


def candidates(version: str) -> Iterator[Path]:
    if on_path := shutil.which(f"python{version}"):
        yield Path(on_path)
    # A shim of pyenv on PATH runs only the versions that are switched on.
    yield from sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
    yield from sorted(Path.home().glob(f".local/share/uv/python/cpython-{version}.*/bin/python3"))


def runs(version: str, python: Path) -> bool:
    says = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [python, "-c", says], capture_output=True, text=True, timeout=30, check=False
        )
    except OSError:
        return False
    return answer.returncode == 0 and answer.stdout.strip() == version
