"""`runtime/fast.py` is optional: it stands in one file, and one line imports it."""

from pathlib import Path

import pytest

from tests.running.processes import Service
from tests.running.projects import Project

pytestmark = [pytest.mark.full, pytest.mark.rest]


def test_a_project_without_fast_py_works(default_project: Project, tmp_path: Path) -> None:
    """Its tests and checks pass, and it serves. All of its tests run: that takes a minute."""
    project = default_project.copy_to(tmp_path / "plain")
    project.remove_fast()
    project.must("make", "check")
    said = project.must("make", "test")
    assert "runtime.fast" in said, "only the comparison of both ways is skipped"
    assert "1 skipped" in said
    with Service(project, project.first_port) as service, service.client() as browser:
        assert browser.get("/api/me").status_code == 401
