"""A packed release knows what it is made of."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.history import commit, git

ASK = "import runpy, sys; print(runpy.run_path(sys.argv[1])['provenance']('7'))"


def test_a_release_knows_its_commit_and_its_lock(bake: Callable[..., Path], tmp_path: Path) -> None:
    """`git archive`, with which deploy/build begins, writes the commit; the lock is that beside it.

    In an image the lock is beside the package instead.
    """
    project = bake(project_slug="orders")
    git(project, "init", "--quiet")
    made = commit(project, "Made")
    assert "git archive HEAD | tar" in (project / "deploy" / "build").read_text()
    release, image = tmp_path / "release", tmp_path / "image"
    release.mkdir()
    git(project, "archive", "--output", str(tmp_path / "release.tar"), "HEAD")
    shutil.unpack_archive(tmp_path / "release.tar", release, filter="data")
    digest = hashlib.sha256((project / "requirements.txt").read_bytes()).hexdigest()
    shutil.copytree(release / "src", image)
    shutil.copy(release / "requirements.txt", image)
    for folder, file in ((release, "src/orders"), (tmp_path, "image/orders")):
        command = [sys.executable, "-c", ASK, folder / file / "runtime/provenance.py"]
        said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        assert said.stdout.strip() == str({"release": "7", "commit": made, "lock": digest})
