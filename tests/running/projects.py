"""Generated projects that are set up: rendered, with a virtual environment, ready to run."""

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.bake import CONTEXT, bake, free_first_port
from tests.parts import PATH

# The answers that are worst for a running service, all at once.
TEXT = "\"'\\ \\u0041 %s %(here)s ${x} {{ y }} {% z %} # </title> & \N{WOMAN}"
NASTY = {
    "project_name": TEXT,
    "project_slug": "w" * 32,
    "description": TEXT,
    "author_name": TEXT,
    "load_balancer": "haproxy",
    "process_manager": "systemd",
}

# What this run of tests has put into its environment, what would change a service's settings, and
# what would have each start of it compile all that it imports.
NOT_PASSED_ON = {
    *("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"),
    *("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "VIRTUAL_ENV"),
    *("COOKIE_SECRET", "DATABASE_URL", "DEBUG", "HOST", "LOG_LEVEL", "PORT", "RELEASE"),
}


def environment_for(**more: str) -> dict[str, str]:
    """The environment variables in which a newcomer would work, and these."""
    inherited = {name: text for name, text in os.environ.items() if name not in NOT_PASSED_ON}
    return {"PYTHON": sys.executable} | inherited | more


def require(program: str) -> str:
    """Return the path of a system's program; without it the test fails, or is skipped at home."""
    path = shutil.which(program, path=PATH)
    if path is None:
        missing(f"{program} is not installed: tests/install-system-packages {program}")
    return path


def missing(reason: str) -> NoReturn:
    """End a test that cannot be run here: a failure where everything must be there, else a skip."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@dataclass(frozen=True)
class Project:
    """A rendered project and the answers it was made of."""

    folder: Path
    balancer: str
    first_port: int
    process_count: int = 4

    @classmethod
    def render(cls, folder: Path, **answers: str) -> "Project":
        """Make a project in `folder`, on ports that are free unless they are given."""
        first_port = int(answers.pop("first_port", "") or free_first_port())
        made = bake(folder, first_port=first_port, **answers)
        balancer = answers.get("load_balancer", "nginx")
        return cls(made, balancer, first_port, int(answers.get("process_count", 4)))

    @property
    def most_in_flight(self) -> int:
        """How many requests the balancer lets through at a time."""
        return int(CONTEXT["__max_in_flight"]) * self.process_count

    @property
    def slug(self) -> str:
        return self.folder.name

    @property
    def session_cookie(self) -> str:
        return f"{self.slug}-session"

    @property
    def xsrf_cookie(self) -> str:
        return f"{self.slug}-xsrf"

    @property
    def package_name(self) -> str:
        return self.slug.replace("-", "_")

    @property
    def package(self) -> Path:
        return self.folder / "src" / self.package_name

    @property
    def balancer_port(self) -> int:
        return self.first_port + 80

    @property
    def worker_ports(self) -> list[int]:
        return [*range(self.first_port, self.first_port + self.process_count)]

    def program(self, name: str) -> Path:
        """A program of the project's virtual environment."""
        return self.folder / ".venv" / "bin" / name

    def run(
        self, *command: str | Path, typed: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder and return what it says, errors included."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment_for(**environment),
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def must(self, *command: str | Path, typed: str | None = None, **environment: str) -> str:
        """Run a command in the project's folder; it must succeed. Return what it says."""
        done = self.run(*command, typed=typed, **environment)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def set_up(self, *, packages: Path | None = None, python: str | Path = sys.executable) -> None:
        """Run `make setup`; with `packages`, a virtual environment from which to take them.

        The installer then finds everything there: that takes seconds instead of a minute.
        """
        if packages:
            copy_environment(packages, self.folder / ".venv")
        self.must("make", "setup", PYTHON=str(python))

    def remove_fast(self) -> None:
        """Remove what is there for speed alone: one file, and the one line that imports it."""
        (self.package / "runtime" / "fast.py").unlink()
        room = self.package / "runtime" / "__init__.py"
        text = room.read_text()
        (line,) = (line for line in text.splitlines(keepends=True) if "import fast" in line)
        room.write_text(text.replace(line, "").rstrip() + "\n")

    def copy_to(self, folder: Path) -> "Project":
        """A copy of this project in another folder, set up there, with a database of its own."""
        folder.mkdir(parents=True)
        made = folder / self.slug
        shutil.copytree(
            self.folder, made, symlinks=True, ignore=shutil.ignore_patterns(".venv", "var")
        )
        copy = Project(made, self.balancer, self.first_port, self.process_count)
        copy.set_up(packages=self.folder / ".venv")
        return copy


def copy_environment(source: Path, target: Path) -> None:
    """Copy a virtual environment; its programs, which begin with its path, begin with the new one.

    The packages in it are linked, not copied: an installer replaces files, it does not change them.
    """

    def link_or_copy(original: str, copy: str) -> None:
        if "site-packages" in original:
            with contextlib.suppress(OSError):  # another file system
                os.link(original, copy)
                return
        shutil.copy2(original, copy)

    shutil.copytree(
        source,
        target,
        symlinks=True,
        ignore=shutil.ignore_patterns("ready", "compiled"),
        copy_function=link_or_copy,
    )
    for program in (target / "bin").iterdir():
        if program.is_file() and not program.is_symlink():
            first, _, rest = program.read_bytes().partition(b"\n")
            if first.startswith(b"#!" + bytes(source)):
                # As installers write it for a path that is long or has spaces.
                python = bytes(target / "bin" / "python")
                start = b"#!/bin/sh\n'''exec' \"" + python + b'" "$0" "$@"\n\' \'\'\'\n'
                program.write_bytes(start + rest)
