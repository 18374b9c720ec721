"""The nightly copy of the database: the program in a folder, and the units that start it."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deployed import on_this_machine

DAY = 24 * 60 * 60
SERVICE = (
    '#!/bin/sh\necho "$@" >> commands\nexit_with=0\ntest "$exit_with" = 0 && echo data > "$2"\n'
)
RSYNC = '#!/bin/sh\nprintf "%s\\n" "$@" > sent\n'


def program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


@pytest.fixture
def release(bake: Callable[..., Path], tmp_path: Path) -> Path:
    """A release's folder, whose command and rsync only note how they were called."""
    project = bake()
    program(project / ".venv/bin/my-service", SERVICE)
    program(tmp_path / "bin/rsync", RSYNC)
    (project / "var/backups").mkdir(parents=True)
    return project


def run_backup(release: Path, **backups: object) -> subprocess.CompletedProcess[str]:
    path = f"{release.parent / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["deploy/backup"],
        cwd=release,
        env=os.environ | {"PATH": path},
        input=json.dumps({"certificate": "none", "backups": backups}),
        capture_output=True,
        text=True,
        check=False,
    )


def old_copy(release: Path, days: float, name: str = "") -> str:
    at = time.time() - days * DAY
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(at))
    path = release / "var/backups" / (name or f"nightly-{stamp}")
    path.write_text("data")
    os.utime(path, (at, at))
    return path.name


def test_old_copies_are_removed_by_number_and_age(release: Path) -> None:
    """So many are kept, none from before so many nights, and nothing else is touched."""
    by_age = [old_copy(release, days) for days in (2.5, 1.5, 0.5)]
    migration = old_copy(release, 400, "before-20250101-000000-12345678")
    done = run_backup(release, keep=2)
    assert done.returncode == 0, done.stderr
    left = {path.name for path in (release / "var/backups").iterdir()}
    assert len(left) == 3
    assert {by_age[2], migration} < left
    by_age += [old_copy(release, days) for days in (3, 4, 5)]
    assert run_backup(release).returncode == 0
    assert set(by_age[2:]) < {path.name for path in (release / "var/backups").iterdir()}


def test_a_failed_copy_removes_nothing(release: Path) -> None:
    """Without a new copy the old ones stay, and the unit fails with the reason."""
    program(release / ".venv/bin/my-service", SERVICE.replace("exit_with=0", "exit_with=1"))
    old_copy(release, 400)
    done = run_backup(release, keep=1, copy_to="there:")
    assert done.returncode == 1
    assert "my-service failed with 1" in done.stderr
    assert len(list((release / "var/backups").iterdir())) == 1
    assert not (release / "sent").exists()


def test_copies_are_sent_off_the_server(release: Path) -> None:
    """rsync gets every copy, with a key that only this user can read and that is made once."""
    earlier = old_copy(release, 1)
    assert "Made a key" in run_backup(release, copy_to="me@there:copies").stdout
    sent = (release / "sent").read_text().splitlines()
    assert sent[-1] == "me@there:copies/"
    assert f"var/backups/{earlier}" in sent
    assert len([one for one in sent if one.startswith("var/backups/nightly-")]) == 2
    key = release / "var/ssh/id_ed25519"
    assert f"-i {key.relative_to(release)} " in " ".join(sent)
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_text()
    assert "Made a key" not in run_backup(release, copy_to="me@there:copies").stdout
    assert key.read_text() == before


@pytest.mark.parametrize("manager", ["supervisord", "systemd"])
def test_systemd_accepts_the_units(bake: Callable[..., Path], tmp_path: Path, manager: str) -> None:
    """Each timer starts the service of the same name; systemd has nothing to say about any."""
    project = bake(process_manager=manager)
    units = []
    timers = sorted((project / "deploy/release").glob("*.timer"))
    assert [timer.stem for timer in timers] == ["backup", "logs"]
    # It says where a program is missing; a server has this one.
    service = timers[1].with_suffix(".service")
    service.write_text(service.read_text().replace("/usr/sbin/logrotate", "/bin/sh"))
    for file in (*timers, *(timer.with_suffix(".service") for timer in timers)):
        on_this_machine(project, f"deploy/release/{file.name}", tmp_path)
        units.append(tmp_path / f"my-service-{file.name}")
        shutil.copy(file, units[-1])
    verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
