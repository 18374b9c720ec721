"""Git repositories for tests, and a copy of the template in a repository of its own."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.bake import TEMPLATE


def git(folder: Path, *arguments: str) -> str:
    """Return the output of git, run without personal settings."""
    environment = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{
            f"GIT_{who}_{what}": "team@example.com"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    command = ["git", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD").strip()


def edit(file: Path, old: str, new: str) -> None:
    """Replace what must stand in a file exactly once."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def copy_working_tree(folder: Path) -> None:
    """Copy the template as it is here, uncommitted changes included, without what git ignores."""
    listed = git(TEMPLATE, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        # What is deleted and not committed yet is listed too.
        if (TEMPLATE / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TEMPLATE / name, folder / name, follow_symlinks=False)


def repository_of_the_template(folder: Path, *, tag: str) -> str:
    """Make a repository of the template as it is here, with one commit; return that commit."""
    copy_working_tree(folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    made = commit(folder, "All of it")
    git(folder, "tag", tag)
    return made
