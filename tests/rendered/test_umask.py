"""What a deploy installs can be read by the service's user, whatever UMASK a server has."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

# Stands for Python and pip: it makes what they would, as the umask has it.
PYTHON = """#!/bin/sh
mkdir -p .venv/bin && printf '#!/bin/sh\\ntouch .venv/installed' > .venv/bin/pip
chmod +x .venv/bin/pip
"""


def test_an_environment_is_readable_for_all(bake: Callable[..., Path], tmp_path: Path) -> None:
    """With UMASK 077 the packages of a release are readable by all users, as usual."""
    tasks = yaml.safe_load((bake() / "deploy/tasks/release.yml").read_text())
    (install,) = (task["block"] for task in tasks if task["name"] == "Install it")
    (script,) = (task["ansible.builtin.shell"] for task in install if "wheels" in str(task))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text(PYTHON)
    (tmp_path / "bin" / "python3").chmod(0o755)
    release = tmp_path / "release"
    (release / "wheels").mkdir(parents=True)

    subprocess.run(
        ["sh", "-c", script.replace("{{ home }}", str(tmp_path))],
        cwd=release,
        env={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"},
        umask=0o077,
        check=True,
    )
    for made in (".venv", ".venv/bin", ".venv/installed"):
        assert (release / made).stat().st_mode & 0o044 == 0o044, made
