"""The playbook before it meets a server: its inventory, and its tasks, read one by one."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bake import ON_SERVERS
from tests.rendered.test_files import AnsibleLoader

HOME = "/srv/service"
DATA = f"{HOME}/shared/var"
# The folder that the service's user owns, by each of the ways that lead there.
TO_DATA = re.compile(rf"({HOME}/|(?<![\w/.-]))((shared|current|releases/[\w.*-]+)/)?var(?![\w.-])")
AS_THE_SERVICE = "runuser -u service -- "


def tasks_of(project: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every task of the playbook and its files, those within blocks too, and where it stands."""
    deploy = project / "deploy"
    for file in (deploy / "playbook.yml", *sorted((deploy / "tasks").glob("*.yml"))):
        (plays,) = yaml.load_all(file.read_text(encoding="utf-8"), AnsibleLoader)
        for task in inner([task for play in plays for task in play.get("tasks", [play])]):
            yield f"{file.name}: {task.get('name')}", task


def inner(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        blocks = [task[name] for name in ("block", "rescue", "always") if name in task]
        for block in blocks:
            yield from inner(block)
        if not blocks:
            yield task


def steps_of(task: dict[str, Any]) -> Iterator[str]:
    """Each thing that a task does: a call of its module, or a command, with where that begins."""
    for item in task["loop"] if isinstance(task.get("loop"), list) else [""]:
        ((module, options),) = ((key, task[key]) for key in task if key.startswith("ansible."))
        arguments = options if isinstance(options, dict) else {"cmd": options}
        values = {
            name: expanded(value, item)
            for name, value in (arguments | task.get("args", {})).items()
        }
        if module.endswith((".command", ".shell", ".script")):
            command = values.get("cmd") or values.get("argv", "")
            # Only a shell's text is more than one command.
            shell = r"\n|;|&&|\|\|" if module.endswith(".shell") else r"\Z"
            for part in filter(None, map(str.strip, re.split(shell, command))):
                yield f"{part}  # in {values.get('chdir', '')}"
        else:
            yield f"{module} {values}"


def expanded(value: object, item: object) -> str:
    """A value with the variables that lead to the service's folder."""
    words = value if isinstance(value, list) else [value]
    text = " ".join(map(str, words))
    text = text.replace("--user={{ service }}", "-u {{ service }}")
    for name, known in (("item", item), ("home", HOME), ("service", "service"), ("alone", "")):
        text = re.sub(rf"\{{\{{ {name} \}}\}}", str(known), text)
    return text.strip()


@pytest.mark.parametrize("answers", ON_SERVERS[::2], indirect=True, ids=str)
def test_root_stays_out_of_the_folder_of_the_services_user(combination: Path) -> None:
    """That user makes and removes files there; root only creates the folder, by no link."""
    found = [
        (where, step)
        for where, task in tasks_of(combination)
        for step in steps_of(task)
        if TO_DATA.search(step)
    ]
    makes = f"ansible.builtin.file {{'path': '{DATA}', 'state': 'directory', 'follow': 'False', "
    others = [(where, step) for where, step in found if not step.startswith(makes)]
    assert len(found) == len(others) + 1
    assert others
    assert [both for both in others if not both[1].startswith(AS_THE_SERVICE)] == []


@pytest.mark.parametrize("target", ["deploy", "rollback", "deploy-status"])
def test_a_missing_inventory_is_an_error(target: str, project: Path) -> None:
    """It fails before anything is installed or asked, and says which file to make from which."""
    done = subprocess.run(
        ["make", target], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "There is no deploy/inventory/production.yml" in done.stderr
    assert "copy deploy/inventory/example.yml" in done.stderr
    assert not list(project.glob(".venv*"))
