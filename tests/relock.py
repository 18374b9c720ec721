"""Move every locked requirement of the generated project to its newest version: `make lock`.

Each database brings requirements of its own. They share one file, in which what not all of them
have stands under a condition, so that all others have one version whatever was chosen.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from tests.bake import CHOICES, TEMPLATE, bake

FOLDER = TEMPLATE / "<<cookiecutter.project_slug>>"
LOCKS = ("requirements.txt", "requirements-dev.txt")
QUESTION = "database"


def relock(project: Path) -> None:
    """Lock a rendered project by its own means."""
    subprocess.run(["make", "--silent", "lock"], cwd=project, check=True)


def merge(locks: dict[str, str]) -> str:
    """One text from the lock of each choice, in the order of the requirements' names."""
    owners: dict[str, set[str]] = {}
    for choice, text in locks.items():
        # A requirement begins at the margin; its hashes are indented.
        for entry in re.findall(r"^\S.*\n(?:[ \t].*\n)*", text, re.MULTILINE):
            owners.setdefault(entry, set()).add(choice)
    merged = []
    for entry, choices in sorted(owners.items(), key=lambda owned: owned[0].split("==")):
        if choices == locks.keys():
            merged.append(entry)
            continue
        for choice in sorted(choices):
            condition = f'#% if cookiecutter.{QUESTION} == "{choice}"\n'
            merged.append(f"{condition}{entry}#% endif\n")
    return "".join(merged)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        projects = {
            choice: bake(Path(folder, choice), **{QUESTION: choice}) for choice in CHOICES[QUESTION]
        }
        for project in projects.values():
            relock(project)
        for name in LOCKS:
            texts = {choice: (project / name).read_text() for choice, project in projects.items()}
            (FOLDER / name).write_text(merge(texts))
        # These do not depend on the database.
        for name in ("requirements-deploy.txt", "requirements-template.txt"):
            # A file that not every choice brings has its condition in its name.
            (file,) = FOLDER.glob(f"*{name}*")
            file.write_text((next(iter(projects.values())) / name).read_text())


if __name__ == "__main__":
    main()
