"""The playbook, before it meets a server."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bake import CHOICES
from tests.environment import tools

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("database", CHOICES["database"])
@pytest.mark.parametrize("load_balancer", CHOICES["load_balancer"])
def test_ansible_lint_is_content(
    load_balancer: str, database: str, bake: Callable[..., Path]
) -> None:
    """At its strictest profile, that of production, it finds nothing to say."""
    project = bake(load_balancer=load_balancer, database=database)
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
