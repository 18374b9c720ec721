"""`deploy/roll` run by root, where another user owns what it works with."""

import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

OTHER = pwd.getpwnam("nobody").pw_uid


def roll(project: Path) -> str:
    """What a roll says, which cannot work here."""
    done = subprocess.run(
        [sys.executable, "deploy/roll"], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("process_manager", ["supervisord", "systemd"])
def test_a_root_file_in_place_of_the_lock_stays(
    process_manager: str, bake: Callable[..., Path], tmp_path: Path
) -> None:
    """The lock is opened as its folder's owner, who could put any link in its place."""
    project = bake(process_manager=process_manager)
    precious = tmp_path / "precious"
    precious.write_text("root's")
    precious.chmod(0o600)
    (project / "var").mkdir()
    os.chown(project / "var", OTHER, OTHER)
    (project / "var/roll.lock").hardlink_to(precious)
    # For what looks for the stack's socket first.
    (project / "var/supervisor.sock").symlink_to(precious)
    roll(project)
    assert precious.read_text() == "root's"
    assert (precious.stat().st_uid, precious.stat().st_mode & 0o777) == (0, 0o600)


@pytest.mark.parametrize("process_manager", ["supervisord", "systemd"])
def test_a_root_socket_in_place_of_the_stack_is_refused(
    process_manager: str, bake: Callable[..., Path], tmp_path: Path
) -> None:
    """The service's user cannot make root send commands to another program of root's."""
    project = bake(process_manager=process_manager)
    (project / "var").mkdir()
    os.chown(project / "var", OTHER, OTHER)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        (tmp_path / "socket").chmod(0o600)
        listener.listen()
        listener.setblocking(False)
        (project / "var/supervisor.sock").symlink_to(tmp_path / "socket")
        roll(project)
        with pytest.raises(BlockingIOError):
            listener.accept()
