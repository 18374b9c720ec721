"""What can go wrong on a server, made to happen, and undone at the end of a `with`."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.running.processes import Stack
from tests.running.projects import missing


def kill(stack: Stack, *ports: int) -> None:
    """End these processes as a crash would."""
    for port, pid in stack.worker_pids().items():
        if port in ports:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def changed(file: Path, addition: str) -> Iterator[None]:
    """A file ends with something else."""
    before = file.read_text()
    file.write_text(before + addition)
    try:
        yield
    finally:
        file.write_text(before)


@contextmanager
def small_disk(folder: Path, megabytes: int = 4) -> Iterator[None]:
    """A folder is a disk of its own. That takes root, or sudo that asks for no password."""
    as_root = [] if os.geteuid() == 0 else ["env", "sudo", "--non-interactive"]
    folder.mkdir(parents=True)
    mount = [*as_root, "mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        folder.rmdir()
        missing(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([*as_root, "umount", "--lazy", folder], check=True)
        folder.rmdir()


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """The disk of this folder is full to the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(os.urandom(size))
            except OSError:
                size //= 2
    try:
        yield
    finally:
        ballast.unlink()
