"""An interrupted generation is completed by generating again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bake import TEMPLATE, bake, files_of
from tests.running.faults import full, small_disk

DEADLINE_SECONDS = 30


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
def test_an_interrupted_generation_can_be_completed(
    number: signal.Signals, terminal: Callable[..., object], tmp_path: Path
) -> None:
    """An interrupted project has no secret yet, and generating over it completes it."""
    out = tmp_path / "out"
    command = ["-m", "cookiecutter", TEMPLATE, "--default-config", "--no-input", "-o", out]
    with subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as generation:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not list(out.glob("my-service/README.md")):
            assert generation.poll() is None, "it has ended before it could be interrupted"
            assert time.monotonic() < deadline, "no file was made"
        generation.send_signal(number)
        assert generation.wait(DEADLINE_SECONDS) != 0
    project = out / "my-service"
    assert not (project / ".env").exists()

    refused = terminal(TEMPLATE, "--no-input", "-o", out)
    assert refused.returncode != 0
    assert "already exists" in refused.stdout + refused.stderr
    done = terminal(TEMPLATE, "--no-input", "--overwrite-if-exists", "-o", out)
    assert done.returncode == 0, done.stderr
    assert_whole(project, tmp_path)


def assert_whole(project: Path, folder: Path) -> None:
    """Assert that a project is complete, its secret included."""
    whole = files_of(bake(folder / "whole"))
    made = files_of(project)
    assert made.keys() == whole.keys()
    del whole[".env"], made[".env"]
    assert made == whole


@pytest.mark.full
def test_a_full_disk_is_reported(terminal: Callable[..., object], tmp_path: Path) -> None:
    """The error names the full disk; with space, generating over it completes the project."""
    out = tmp_path / "disk"
    with small_disk(out):
        with full(out):
            said = terminal(TEMPLATE, "--no-input", "-o", out)
        assert said.returncode != 0
        assert "No space left on device" in said.stderr
        done = terminal(TEMPLATE, "--no-input", "--overwrite-if-exists", "-o", out)
        assert done.returncode == 0, done.stderr
        assert_whole(out / "my-service", tmp_path)


def test_a_target_that_is_no_folder_is_refused(
    terminal: Callable[..., object], tmp_path: Path
) -> None:
    """The error names the target, and the existing file stays."""
    (tmp_path / "mine").write_text("mine")
    said = terminal(TEMPLATE, "--no-input", "-o", tmp_path / "mine")
    assert said.returncode != 0
    assert str(tmp_path / "mine") in said.stdout + said.stderr
    assert (tmp_path / "mine").read_text() == "mine"
