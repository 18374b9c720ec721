"""The program `deploy/publish`, which stores the static files of all releases by their hashes."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

PUBLISH = Path(__file__).parents[1] / "deploy" / "publish"


def publish(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PUBLISH, *arguments], capture_output=True, text=True, check=False
    )


def write(file: str, text: str) -> str:
    """Write a file of a release; return its place in the store."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    version = hashlib.sha512(text.encode()).hexdigest()
    return f"{version}/static/{Path(*path.parts[1:])}"


def stored() -> dict[str, str]:
    """Return the content of each file in the store, by path."""
    store = Path("store")
    files = (path for path in store.rglob("*") if path.is_file())
    return {str(file.relative_to(store)): file.read_text() for file in files}


def test_every_file_is_found_by_its_hash() -> None:
    """A file that differs between two releases is stored in both versions, also in subfolders."""
    expected = {
        write("one/style.css", "red"): "red",
        write("two/style.css", "blue"): "blue",
        write("two/icons/logo.svg", "red"): "red",
    }
    done = publish("store", "one", "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "store: 3 files added, 0 removed\n"
    assert stored() == expected


def test_a_second_run_changes_nothing() -> None:
    """A second run changes and prints nothing; other content of the store stays."""
    place = Path("store", write("one/style.css", "red"))
    publish("store", "one")
    before = place.stat()
    write("one/style.css", "blue")
    publish("store", "one")
    assert publish("store", "one").stdout == ""
    assert place.stat() == before
    assert sorted(stored().values()) == ["blue", "red"]


def test_files_of_removed_releases_are_removed() -> None:
    """With `--only`, files of removed releases and of killed runs are deleted."""
    kept = write("two/style.css", "blue")
    write("one/style.css", "red")
    publish("store", "one", "two")
    Path("store/.new-left").touch()
    assert publish("--only", "store", "two").stdout == "store: 0 files added, 2 removed\n"
    assert stored() == {kept: "blue"}
    assert len(list(Path("store").iterdir())) == 1


def test_a_damaged_file_is_replaced() -> None:
    """A file whose content does not match its hash is replaced."""
    place = write("one/style.css", "red")
    publish("store", "one")
    Path("store", place).write_text("")
    publish("store", "one")
    assert stored() == {place: "red"}


def test_published_files_are_readable_by_the_balancer() -> None:
    """Published files are readable by everyone, whatever the umask is."""
    place = write("one/style.css", "red")
    before = os.umask(0o077)
    try:
        publish("store", "one")
    finally:
        os.umask(before)
    file = Path("store", place)
    assert file.stat().st_mode & 0o777 == 0o644
    assert {folder.stat().st_mode & 0o777 for folder in list(file.parents)[:-1]} == {0o755}


@pytest.mark.parametrize("folder", ["nothing", "file"])
def test_a_missing_folder_is_an_error(folder: str) -> None:
    """A missing folder is reported, and nothing is removed."""
    Path("file").touch()
    place = write("one/style.css", "red")
    publish("store", "one")
    done = publish("--only", "store", folder)
    assert done.returncode == 1
    assert done.stderr == f"Cannot publish: {folder} is no folder.\n"
    assert stored() == {place: "red"}
