"""The instructions of docs/your-own.md for a company work, word for word."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from tests.bake import COMBINATIONS, TEMPLATE

TEXT = (TEMPLATE / "docs" / "your-own.md").read_text(encoding="utf-8")
ADDRESS = "https://git.example.com/org/tornado-deploy"
Terminal = Callable[..., subprocess.CompletedProcess[str]]


BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
ANSWERS, GENERATE, FORK, MERGE = [text for _, text in BLOCKS]


def test_a_file_gives_everyone_the_same_answers(terminal: Terminal, tmp_path: Path) -> None:
    """A project generated with the example's file has its answers."""
    (tmp_path / "our-answers.yaml").write_text(ANSWERS)
    command = GENERATE.split()
    assert command[:3] == ["cookiecutter", "--config-file", "our-answers.yaml"]
    made = terminal(*command[1:3], "--no-input", TEMPLATE)
    assert made.returncode == 0, made.stderr
    project = tmp_path / "my-service"
    described = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert described["authors"] == [{"name": "The Platform Team", "email": "platform@example.com"}]
    assert (project / "deploy" / "haproxy").is_dir()
    assert (project / ".gitlab-ci.yml").exists()
    assert any(name.startswith("psycopg") for name in described["dependencies"])


def test_a_fork_merges_a_later_version(terminal: Terminal, tmp_path: Path) -> None:
    """A fork with its own file merges a later version, and generates from both."""
    ours = tmp_path / "ours"
    shell(tmp_path, f"git clone --quiet '{TEMPLATE}' '{ours}'")
    shell(tmp_path, FORK.replace(ADDRESS, str(ours)))
    changed = ours / "<<cookiecutter.project_slug>>" / "README.md"
    changed.write_text(changed.read_text(encoding="utf-8") + "\nA new line.\n", encoding="utf-8")
    shell(ours, "git switch --quiet --force-create main HEAD && git commit --quiet -am Later")
    pull, check = MERGE.splitlines()
    assert check == "make test"
    shell(tmp_path / "our-template", pull.replace(ADDRESS, str(ours)))
    # Of all those tests, the one that a file of an unknown kind fails.
    combination = "-".join(COMBINATIONS[0].values())
    one = f"tests/rendered/test_files.py::test_every_file_can_be_read[{combination}]"
    shell(tmp_path / "our-template", f"'{sys.executable}' -B -m pytest -q '{one}'")

    made = terminal(tmp_path / "our-template", "--no-input")
    assert made.returncode == 0, made.stderr
    project = tmp_path / "my-service"
    assert (project / "CODEOWNERS").read_text() == "* @platform\n"
    assert (project / "README.md").read_text(encoding="utf-8").endswith("\nA new line.\n")


def shell(folder: Path, commands: str) -> None:
    """Run these as somebody would who has a name in git."""
    name = "git config --global user.name Nobody; git config --global user.email n@example.com"
    done = subprocess.run(
        ["sh", "-ec", f"export HOME=$PWD; {name}\n{commands}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
