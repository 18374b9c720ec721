"""The instructions of docs/your-own.md for a company work, word for word."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from tests.bake import COMBINATIONS, TEMPLATE
from tests.history import commit, git

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


def test_a_platform_team_sees_where_each_service_stands(project: Path, tmp_path: Path) -> None:
    """The lines of docs/many-services.md name the release of each service, and what is after it."""
    text = (TEMPLATE / "docs" / "many-services.md").read_text(encoding="utf-8")
    lines = text.split("```\n")[1].replace(ADDRESS, "origin")
    template = tmp_path / "origin"
    template.mkdir()
    git(template, "init", "--quiet")
    commits = [commit(template, "Released")]
    git(template, "tag", "1.4.0")
    commits.append(commit(template, "Not released"))
    for number, made in enumerate(commits):
        service = tmp_path / f"service-{number}"
        service.mkdir()
        link = json.loads((project / ".cruft.json").read_text()) | {"commit": made}
        (service / ".cruft.json").write_text(json.dumps(link, indent=2))
        git(service, "init", "--quiet")
        commit(service, "Made")
    addresses = [(tmp_path / f"service-{number}").as_uri() for number in (0, 1)]
    (tmp_path / "services.txt").write_text("".join(f"{address}\n" for address in addresses))
    assert shell(tmp_path, lines).splitlines() == [
        f"1.4.0  {addresses[0]}",
        f"1.4.0-1-g{commits[1][:7]}  {addresses[1]}",
    ]


def shell(folder: Path, commands: str) -> str:
    """Run these as somebody would who has a name in git; return what they say."""
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
    return done.stdout
