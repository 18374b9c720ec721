"""The template arrives by git with any settings, as a zip file, or at an old cookiecutter."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bake import TEMPLATE, bake


def test_an_old_cookiecutter_is_refused(tmp_path: Path) -> None:
    """A cookiecutter that leaves the hook unrendered gets the oldest version that works."""
    hook = TEMPLATE / "hooks" / "pre_gen_project.py"
    done = subprocess.run([sys.executable, hook], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs cookiecutter 2.6 or later" in done.stderr
    assert "Traceback" not in done.stderr
    requirement = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["dependency-groups"]
    assert "cookiecutter>=2.6" in requirement["dev"]
    assert "cookiecutter>=2.6" in (TEMPLATE / "README.md").read_text()


def test_a_template_without_modes_gives_the_same_project(
    project: Path, terminal: Callable[..., object], tmp_path: Path
) -> None:
    """A zip file of the template loses the executable bits; the project has them all."""
    unpacked = shutil.copytree(
        TEMPLATE,
        tmp_path / "unpacked",
        copy_function=shutil.copyfile,
        ignore=shutil.ignore_patterns(".*", "{{*", "demo"),
    )
    made = terminal(unpacked, "--no-input", "-o", tmp_path / "out")
    assert made.returncode == 0, made.stderr
    assert runnable(tmp_path / "out" / "my-service") == runnable(project) != set()


def runnable(folder: Path) -> set[Path]:
    """The files of a folder that can be run."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder) for path in files if path.stat().st_mode & 0o111}


@pytest.mark.parametrize("house", ["template", "project"])
def test_line_ends_stay_those_of_linux(house: str, tmp_path: Path) -> None:
    """A clone by a git that writes Windows' line ends has the committed bytes."""
    origin = tmp_path / "origin"
    if house == "project":
        bake(tmp_path).rename(origin)
    else:
        origin.mkdir()
        shutil.copy2(TEMPLATE / ".gitattributes", origin)
        shutil.copytree(TEMPLATE / "hooks", origin / "hooks")
    git = ("git", "-c", "user.name=me", "-c", "user.email=me@example.com", "-C", origin)
    for command in ("init -q", "add .", "commit -q -m first"):
        subprocess.run([*git, *command.split()], check=True, capture_output=True)
    clone = [*git[:-2], "clone", "-q", "--config", "core.autocrlf=true", origin, tmp_path / "clone"]
    subprocess.run(clone, check=True, capture_output=True)

    cloned = [path for path in (tmp_path / "clone").rglob("*") if path.is_file()]
    programs = [path for path in cloned if ".git" not in path.relative_to(tmp_path).parts]
    assert len(programs) >= 3
    for path in programs:
        there = origin / path.relative_to(tmp_path / "clone")
        assert path.read_bytes() == there.read_bytes(), path
