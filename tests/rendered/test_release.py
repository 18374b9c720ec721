"""Projects are updated to releases, so what is rendered differs only under another version."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bake import TEMPLATE
from tests.history import commit, edit, git, repository_of_the_template
from tests.release import (
    CHANGELOG,
    RELEASES,
    VERSION,
    digest_of_all,
    problem,
    released,
    tree_digest,
)

PYTHON = (sys.executable, "-B")


def test_what_is_rendered_has_its_own_version() -> None:
    """What differs from the last release has a higher version than that: raise it if this fails."""
    assert problem(VERSION, digest_of_all, released()) is None


@pytest.mark.parametrize(
    ("version", "digest", "words"),
    [
        ("1.9.0", "same", "older than the last release, 1.10.0"),
        ("1.10.0", "other", "differs from release 1.10.0; raise __template_version"),
        ("1.10.0", "same", None),
        ("1.10.1", "other", None),
        ("1.10", "other", "1.10 is no version"),
    ],
)
def test_a_version_that_may_not_be_is_found(version: str, digest: str, words: str | None) -> None:
    """A change under the last release's version, or one of before, is refused with the remedy."""
    found = problem(version, lambda: digest, {"1.10.0": "same", "1.9.0": "other"})
    assert words in found if words else found is None


def test_a_digest_holds_all_that_a_project_gets(tmp_path: Path) -> None:
    """Another byte, name or mode is another digest; what each project has of its own is not."""
    file = tmp_path / "file"
    seen = set()
    changes: list[Callable[[], object]] = [
        lambda: file.write_text("text"),
        lambda: file.write_text("Text"),
        lambda: file.chmod(0o755),
        lambda: file.rename(tmp_path / "name"),
    ]
    for number, change in enumerate(changes, 1):
        change()
        seen.add(tree_digest(tmp_path))
        assert len(seen) == number
    (tmp_path / ".env").write_text("COOKIE_SECRET=a")
    assert tree_digest(tmp_path) in seen


def test_a_release_is_made(tmp_path: Path) -> None:
    """`make release` heads the changelog, and a change after it needs another version.

    The commands that it prints make a tag of that name.
    """
    repository_of_the_template(tmp_path, tag="0.0.1")
    changes, releases = (tmp_path / file.relative_to(TEMPLATE) for file in (CHANGELOG, RELEASES))
    releases.write_text("{}\n")
    edit(changes, "## [Unreleased]\n", "## [Unreleased]\n\n- A change.\n")
    refused = run(tmp_path, "-m", "tests.release")
    assert (refused.returncode, "commit first" in refused.stderr) == (1, True)
    commit(tmp_path, "A change")

    done = run(tmp_path, "-m", "tests.release")
    assert done.returncode == 0, done.stderr
    changelog = changes.read_text(encoding="utf-8")
    heading = (
        rf"## \[Unreleased\]\n\n## \[{re.escape(VERSION)}\] - \d{{4}}-\d\d-\d\d\n\n- A change\."
    )
    assert re.search(heading, changelog)
    assert json.loads(releases.read_text()).keys() == {VERSION}
    *commands, push = re.findall("^  git (.*)", done.stdout, re.MULTILINE)
    assert push == f"push origin HEAD {VERSION}"
    for command in commands:
        git(tmp_path, *shlex.split(command))
    assert git(tmp_path, "describe", "--exact-match").strip() == VERSION

    edit(tmp_path / "<<cookiecutter.project_slug>>/.editorconfig", "[*]\n", "[*]\n# new\n")
    found = run(tmp_path, "-m", "tests.release")
    assert f"differs from release {VERSION}; raise" in found.stderr


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PYTHON, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
