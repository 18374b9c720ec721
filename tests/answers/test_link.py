"""A new project knows its template, the commit and the answers, however it was made."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.history import copy_working_tree, git, repository_of_the_template

Terminal = Callable[..., subprocess.CompletedProcess[str]]
TAG = "9.9.9"
ADDRESS = "https://git.example.com/org/tornado-deploy.git"
LINK = ".cruft.json"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the template with one release."""
    folder = tmp_path_factory.mktemp("template") / "tornado-deploy"
    folder.mkdir()
    repository_of_the_template(folder, tag=TAG)
    return folder


def test_cookiecutter_writes_the_link_of_cruft(
    template: Path, terminal: Terminal, tmp_path: Path
) -> None:
    """A project made by cookiecutter has the link of `cruft create`, and cruft works on it."""
    answers = {"project_name": "Größe", "project_slug": "size", "database": "postgresql"}
    given = [f"{name}={answer}" for name, answer in answers.items()]
    url = f"git+{template.as_uri()}"
    made = terminal(url, "--no-input", "--checkout", TAG, *given)
    assert made.returncode == 0, made.stderr
    link = json.loads((tmp_path / "size" / LINK).read_text(encoding="utf-8"))
    assert f"Link for `make update`: {template.as_uri()} at {link['commit'][:12]}." in made.stdout

    extra = ("--extra-context", json.dumps(answers), "--checkout", TAG, "--no-input")
    done = cruft(tmp_path, "create", template.as_uri(), *extra, "--output-dir", "cruft")
    assert done.returncode == 0, done.stdout
    of_cruft = json.loads((tmp_path / "cruft" / "size" / LINK).read_text(encoding="utf-8"))
    recorded, by_cruft = (one["context"].pop("cookiecutter") for one in (link, of_cruft))
    # cruft makes a path of the address of a folder.
    assert link | {"template": str(template)} == of_cruft
    assert {name: by_cruft[name] for name in recorded} == recorded | {"_template": str(template)}
    assert {name for name in by_cruft if not name.startswith("_")} <= recorded.keys()
    assert recorded.items() >= answers.items()

    done = cruft(tmp_path / "size", "check", "--checkout", TAG)
    assert done.returncode == 0, done.stdout


def test_the_link_is_good_for_others(template: Path, terminal: Terminal, tmp_path: Path) -> None:
    """The link leads to the origin of the clone, without the password that cloned it."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(template), str(clone))
    git(clone, "remote", "set-url", "origin", ADDRESS.replace("//", "//reader:a-token@"))
    # A relative path is that of a folder which is not the hook's own.
    made = terminal("clone", "--no-input")
    assert made.returncode == 0, made.stderr
    link = (tmp_path / "my-service" / LINK).read_text(encoding="utf-8")
    assert json.loads(link)["template"] == ADDRESS
    assert "a-token" not in link


@pytest.mark.parametrize("lacking", ["history", "git"])
def test_a_template_without_git_works(lacking: str, terminal: Terminal, tmp_path: Path) -> None:
    """A template without git, in a folder of another repository, makes a project without a link."""
    folder = tmp_path / "unpacked"
    copy_working_tree(folder)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "Somebody's own")
    path = os.environ["PATH"]
    if lacking == "git":
        git(folder, "init", "--quiet")
        git(folder, "commit", "--quiet", "--allow-empty", "--message", "Not to be read")
        path = str(tmp_path / "nothing")
    made = terminal(folder, "--no-input", env={"PATH": path})
    assert made.returncode == 0, made.stderr
    assert "Link for `make update`: none, as it came without" in made.stdout
    assert not (tmp_path / "my-service" / LINK).exists()
    assert (tmp_path / "my-service" / ".env").exists()


def test_a_git_without_links_works(template: Path, terminal: Terminal, tmp_path: Path) -> None:
    """Where git makes no links cookiecutter needs none; cruft works once git makes them."""
    setting = "core.symlinks"
    git(tmp_path, "clone", "--quiet", "--config", f"{setting}=false", str(template), "clone")
    assert not any(path.is_symlink() for path in (tmp_path / "clone").iterdir())
    made = terminal("clone", "--no-input")
    assert made.returncode == 0, made.stderr
    readme = (template / "README.md").read_text(encoding="utf-8")
    assert f"git config --global {setting} true" in readme
    message = "Was unable to locate a Cookiecutter template"
    assert message in readme
    for value in ("false", "true"):
        (tmp_path / ".gitconfig").write_text(f"[core]\nsymlinks = {value}\n")
        done = cruft(tmp_path, "create", str(template), "--no-input", "--output-dir", value)
        assert (done.returncode == 0) == (value == "true"), done.stdout
        assert (message in " ".join(done.stdout.split())) == (value == "false")


def cruft(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What cruft's own command does there."""
    return subprocess.run(
        [sys.executable, "-m", "cruft", *arguments],
        cwd=folder,
        env=os.environ | {"HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
