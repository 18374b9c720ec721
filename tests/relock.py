"""Move every locked requirement of the generated project to its newest version: `make lock`.

Each database, and each way to sign in, brings requirements of its own. They share one file, in
which what not all of them have stands under a condition, so that all others have one version
whatever was chosen.
"""

import itertools
import re
import subprocess
import tempfile
from pathlib import Path

from tests.bake import CHOICES, TEMPLATE, bake

FOLDER = TEMPLATE / "<<cookiecutter.project_slug>>"
LOCKS = ("requirements.txt", "requirements-dev.txt")
QUESTIONS = ("database", "sign_in")
Choices = tuple[str, ...]


def relock(project: Path) -> None:
    """Lock a rendered project by its own means."""
    subprocess.run(["make", "--silent", "lock"], cwd=project, check=True)


def merge(locks: dict[Choices, str]) -> str:
    """One text from the lock of each combination, in the order of the requirements' names."""
    owners: dict[str, set[Choices]] = {}
    for choices, text in locks.items():
        # A requirement begins at the margin; its hashes are indented.
        for entry in re.findall(r"^\S.*\n(?:[ \t].*\n)*", text, re.MULTILINE):
            owners.setdefault(entry, set()).add(choices)
    merged = []
    for entry, having in sorted(owners.items(), key=lambda owned: owned[0].split("==")):
        condition = condition_of(having)
        merged.append(f"#% if {condition}\n{entry}#% endif\n" if condition else entry)
    return "".join(merged)


def condition_of(having: set[Choices]) -> str:
    """The condition under which exactly these combinations are rendered; none for all of them."""
    parts, counted = [], 1
    for question, options in zip(QUESTIONS, zip(*having, strict=True), strict=True):
        found = sorted(set(options))
        counted *= len(found)
        if len(found) < len(CHOICES[question]):
            parts.append(" or ".join(f'cookiecutter.{question} == "{option}"' for option in found))
    if counted != len(having):
        raise ValueError(f"no condition on one question after another gives {sorted(having)}")
    return " and ".join(parts)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        projects = {
            choices: bake(Path(folder, *choices), **dict(zip(QUESTIONS, choices, strict=True)))
            for choices in itertools.product(*(CHOICES[question] for question in QUESTIONS))
        }
        for project in projects.values():
            relock(project)
        for name in LOCKS:
            texts = {one: (project / name).read_text() for one, project in projects.items()}
            (FOLDER / name).write_text(merge(texts))
        # These depend on no choice.
        for name in ("requirements-deploy.txt", "requirements-template.txt"):
            # A file that not every choice brings has its condition in its name.
            (file,) = FOLDER.glob(f"*{name}*")
            file.write_text((next(iter(projects.values())) / name).read_text())


if __name__ == "__main__":
    main()
