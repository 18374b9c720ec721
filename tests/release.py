"""Make the next release of the template: `make release`.

It takes the version from cookiecutter.json, heads what is unreleased in CHANGELOG.md with it, and
records in releases.json what this version renders. The maintainer then commits, tags and pushes.
"""

import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.bake import CONTEXT, FORK, TEMPLATE, bake, covering, files_of
from tests.history import git

VERSION = CONTEXT["__template_version"]
# A fork's releases have a record of their own, which no merge from upstream touches.
RECORDS = FORK if FORK.exists() else TEMPLATE
CHANGELOG = RECORDS / "CHANGELOG.md"
# The digest of what each released version renders.
RELEASES = RECORDS / "releases.json"
UNRELEASED = "## [Unreleased]\n"
# These differ in each project, whatever the version.
OWN_OF_A_PROJECT = {".env", ".cruft.json"}


def released() -> dict[str, str]:
    return json.loads(RELEASES.read_text(encoding="utf-8")) if RELEASES.exists() else {}


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers, which sort as versions do."""
    return tuple(map(int, version.split(".")))


def tree_digest(project: Path) -> str:
    """A digest of the files of a project: their paths, their bytes, and which can be run."""
    digest = hashlib.sha256()
    for name, content in files_of(project).items():
        if name not in OWN_OF_A_PROJECT:
            runs = (project / name).stat().st_mode & 0o100
            digest.update(f"{name}\0{runs}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def digest_of_all() -> str:
    """A digest of the projects that hold each pair of options."""
    with tempfile.TemporaryDirectory() as folder:
        trees = [
            tree_digest(bake(Path(folder, str(number)), **answers))
            for number, answers in enumerate(covering())
        ]
    return hashlib.sha256("".join(trees).encode()).hexdigest()


def problem(version: str, digest: Callable[[], str], releases: dict[str, str]) -> str | None:
    """Say why this version may not stand in cookiecutter.json; None if it may.

    `digest` is asked only where the version is the last release's.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        return f"{version} is no version; write MAJOR.MINOR.PATCH as __template_version"
    last = max(releases, key=numbers, default="0.0.0")
    if numbers(version) < numbers(last):
        return f"{version} is older than the last release, {last}; raise __template_version"
    if version == last and digest() != releases[last]:
        return f"what is rendered differs from release {last}; raise __template_version"
    return None


def release() -> str:
    """Write the changelog's heading and the record; return what the maintainer does next.

    Raise ValueError where there is nothing to release, or not all of it is committed.
    """
    releases = released()
    if fault := problem(VERSION, digest_of_all, releases):
        raise ValueError(f"cookiecutter.json: {fault}")
    if VERSION in releases:
        raise ValueError(f"cookiecutter.json: {VERSION} is released, and nothing rendered differs")
    if changes := git(TEMPLATE, "status", "--porcelain"):
        raise ValueError(f"commit first:\n{changes}")
    before, heading, after = CHANGELOG.read_text(encoding="utf-8").partition(UNRELEASED)
    if not after.partition("\n## [")[0].strip():
        raise ValueError("CHANGELOG.md: nothing stands under Unreleased; describe what is new")
    heading += f"\n## [{VERSION}] - {datetime.now(UTC):%Y-%m-%d}\n"
    CHANGELOG.write_text(before + heading + after, encoding="utf-8")
    record = json.dumps(releases | {VERSION: digest_of_all()}, indent=2)
    RELEASES.write_text(record + "\n", encoding="utf-8")
    return f"""\
Release {VERSION} is prepared. Look at `git diff`, then:
  git commit -am 'Release {VERSION}'
  git tag -a {VERSION} -m 'Release {VERSION}'
  git push origin HEAD {VERSION}"""


if __name__ == "__main__":
    try:
        print(release())
    except ValueError as fault:
        sys.exit(f"No release: {fault}")
