"""A project passes its own checks from birth, whatever the answers."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bake import COMBINATIONS, CONTEXT, TEMPLATE
from tests.environment import CACHE, environment

NASTY = "\"'\\ \\u0041 %s ${x} {{ y }} {% z %} # < > & \N{WOMAN}"
EXTREMES = [
    *COMBINATIONS,
    {"project_slug": "a"},
    {"project_slug": "s" * 63},
    {"project_slug": "-".join(["ab"] * 21)},
    {"project_slug": "zzz-" + "z" * 59, "first_port": "65455", "process_count": "64"},
    {
        "project_slug": "my-service",
        "project_name": NASTY,
        "description": NASTY,
        "author_name": NASTY,
    },
    {"project_slug": "my-service", "project_name": '"' * 60, "description": "\\" * 200},
    {"domain_name": ".".join(["a" * 63] * 3 + ["b" * 61])},
]


def tool(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("answers", EXTREMES, ids=str)
def test_formatter_and_linter_are_content(
    answers: dict[str, str], bake: Callable[..., Path]
) -> None:
    """The project's own settings of ruff find nothing to change and nothing to say."""
    project = bake(**answers)
    tool(sys.executable, "-m", "ruff", "format", "--no-cache", "--diff", cwd=project)
    tool(sys.executable, "-m", "ruff", "check", "--no-cache", cwd=project)


@pytest.mark.parametrize("answers", COMBINATIONS, ids=str)
def test_the_type_checker_is_content(answers: dict[str, str], bake: Callable[..., Path]) -> None:
    """The project's own settings of mypy find nothing to say."""
    project = bake(**answers)
    tool(environment(project) / "mypy", "--cache-dir", CACHE / "mypy", cwd=project)


def locked(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_locked(lock: str, project: Path) -> None:
    """Each requirement has one version and its hashes, and no index is named."""
    text = (project / lock).read_text(encoding="utf-8")
    assert locked(text)
    entries = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE).strip())
    for entry in entries:
        assert re.match(r"[a-z0-9][a-z0-9._-]*==[^ ]+ ", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_both_locks_name_the_same_tools(project: Path) -> None:
    """The template tests projects with the tools that these use themselves."""
    here = locked((TEMPLATE / "requirements.txt").read_text(encoding="utf-8"))
    there = locked((project / "requirements-dev.txt").read_text(encoding="utf-8"))
    shared = ("ruff", "mypy", "supervisor", "tornado")
    assert {name: there[name] for name in shared} == {name: here[name] for name in shared}


def test_no_service_can_take_the_name_of_a_requirement(project: Path) -> None:
    """The names refused as slugs include every locked requirement of the project."""
    hook = (TEMPLATE / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    (taken,) = [
        set(node.value.args[0].func.value.value.split())
        for node in ast.parse(hook).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "TAKEN"
    ]
    names = locked((project / "requirements-dev.txt").read_text(encoding="utf-8"))
    assert {name.replace("-", "_").replace(".", "_") for name in names} <= taken


def test_a_project_records_the_version_of_its_template(project: Path) -> None:
    """The template's version stands once in the template, and in each project's pyproject.toml."""
    about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert about["tool"]["tornado-deploy"]["version"] == CONTEXT["__template_version"]
    changes = (TEMPLATE / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{CONTEXT['__template_version']}]" in changes
