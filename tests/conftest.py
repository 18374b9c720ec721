"""The fixtures that all tests share; those that run services are in tests/running."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import interpreters, parts, progress
from tests.bake import bake as bake_into
from tests.bake import free_first_port


def pytest_configure(config: pytest.Config) -> None:
    progress.pytest_configure(config)


def pytest_report_header() -> list[str]:
    tested = ", ".join(interpreters.found()) or "none"
    lacking = ", ".join(interpreters.missing())
    pythons = f"generated projects on Python {tested}"
    return [pythons + (f"; not here: {lacking}" if lacking else ""), *parts.lacking()]


@pytest.fixture
def bake(tmp_path: Path) -> Callable[..., Path]:
    """bake(**answers): a fresh project with these answers and the defaults for the others."""
    return functools.partial(bake_into, tmp_path)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of the default answers, on ports that are free; for tests that only look."""
    folder = tmp_path_factory.mktemp("project")
    return bake_into(folder, first_port=free_first_port())


@pytest.fixture(scope="session")
def python_versions() -> dict[str, Path]:
    """The supported Pythons of this machine, version to interpreter; at least one."""
    found = interpreters.found()
    assert found, f"none of Python {', '.join(interpreters.SUPPORTED)} runs here; install one"
    return found


@pytest.fixture
def terminal(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """terminal(*arguments): what cookiecutter's own command does, as a person would see it."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        # Nobody's own settings, and rendered hooks go where the test's other files go.
        environment = os.environ | {"HOME": str(home), "TMPDIR": str(home)}
        environment |= options.pop("env", {})
        return subprocess.run(
            [sys.executable, "-m", "cookiecutter", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=tmp_path,
            **options,
        )

    return run
