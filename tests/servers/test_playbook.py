"""The playbook, before it meets a server."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.bake import CHOICES
from tests.environment import locked_environment, tools

pytestmark = pytest.mark.servers


# Each option once: what a task file holds does not depend on two of them together.
@pytest.mark.parametrize("option", [0, 1])
def test_ansible_lint_is_content(option: int, bake: Callable[..., Path]) -> None:
    """At its strictest profile, that of production, it finds nothing to say."""
    project = bake(**{name: options[option] for name, options in CHOICES.items()})
    # It looks at what git knows.
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    programs = tools("ansible-lint")
    done = subprocess.run(
        [
            "ansible-lint",
            "--nocolor",
            "--offline",
            "--profile",
            "production",
            "deploy/playbook.yml",
        ],
        cwd=project,
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Passed: 0 failure(s), 0 warning(s)" in done.stdout


@pytest.mark.parametrize(
    "inventory",
    [
        "workers:\n  hosts: {one: , two: }",
        "workers:\n  hosts: {one: }\nbalancers:\n  hosts: {two: }",
        "workers:\n  hosts: {one: }\ndatabases:\n  hosts: {two: , three: }",
    ],
    ids=["workers", "balancers", "databases"],
)
def test_several_servers_are_refused(inventory: str, bake: Callable[..., Path]) -> None:
    """An inventory of a fleet ends the deploy before a server is asked; it points to an engine."""
    project = bake(database="postgresql")
    file = project / "deploy/inventory/production.yml"
    file.write_text(f"{inventory}\n  vars: {{certificate: letsencrypt}}\n")
    done = subprocess.run(
        [
            locked_environment(project / "requirements-deploy.txt") / "ansible-playbook",
            *("--inventory", file, "deploy/playbook.yml"),
        ],
        cwd=project,
        env=os.environ | {"ANSIBLE_CONFIG": "deploy/ansible.cfg", "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    assert "production.yml lists several servers for the service." in said
    assert "the work of a container engine" in said
    assert "Ask the server" not in said


def test_ansible_takes_an_address_for_text(bake: Callable[..., Path], tmp_path: Path) -> None:
    """Neither its templates nor a shell reads what stands in an address; certbot gets it whole."""
    email = "{{7*7}}{%raw%}o'brien$HOME`id`%s&|@example.com"
    project = bake(author_email=email)
    deploy = project / "deploy"
    certbot = tmp_path / "certbot"
    certbot.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.asked"\n')
    certbot.chmod(0o755)

    # The playbook's own variables, and of its tasks those that ask.
    tasks = yaml.safe_load((deploy / "tasks/letsencrypt.yml").read_text())
    ask = [task for task in tasks if "packages.yml" not in str(task)]
    (deploy / "tasks/ask.yml").write_text(yaml.safe_dump(ask))
    play = (deploy / "playbook.yml").read_text().partition("  tasks:\n")[0]
    play = play.replace("hosts: workers", "hosts: localhost").replace("become: true", "")
    include = "  tasks:\n    - ansible.builtin.include_tasks: tasks/ask.yml\n"
    (deploy / "ask.yml").write_text(play + include)
    done = subprocess.run(
        [
            locked_environment(project / "requirements-deploy.txt") / "ansible-playbook",
            *("--connection", "local", "--extra-vars"),
            '{"www": true}',
            "deploy/ask.yml",
        ],
        cwd=project,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    asked = Path(f"{certbot}.asked").read_text().splitlines()
    assert f"--email={email}" in asked
    assert asked[asked.index("--domain") + 1] == "example.com,www.example.com"
