"""A project that a team has made its own takes over a later version of the template."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bake import TEMPLATE
from tests.environment import environment
from tests.history import commit, copy_working_tree, edit, git
from tests.running.projects import Project

pytestmark = pytest.mark.full

# How far back an earlier version is looked for where no release has a tag.
COMMITS_BACK = 10
EARLIER_VERSION = "0.0.9"
DROPPED_SINCE = "/dropped-since/"

# Else cruft goes on with the earlier version's own decisions, which it has recorded as answers.
UPDATE = ("update", "--refresh-private-variables", "--skip-apply-ask", "--checkout", "main")

HELLO = '''"""A greeting."""

from .base import APIHandler


class Hello(APIHandler):
    def get(self) -> None:
        self.write({"hello": "world"})
'''
TEST_HELLO = '''"""The greeting."""

from ..browser import Browser


async def test_it_greets(browser: Browser) -> None:
    """Everybody is greeted."""
    assert b"world" in (await browser.get("/api/hello")).body
'''
OUR_WORDS = "<p>Looked after by the team on the third floor.</p>"


def earlier_commit() -> str:
    """The last release, or else the oldest of the last commits that this clone has."""
    tag = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "HEAD"],
        cwd=TEMPLATE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tag.returncode == 0:
        return tag.stdout.strip()
    return git(TEMPLATE, "rev-list", f"--max-count={COMMITS_BACK}", "HEAD").split()[-1]


@pytest.fixture(scope="module")
def template(workshop: Path) -> tuple[Path, str]:
    """A repository with two versions of the template, and the earlier one's commit.

    The later one is the working tree as it is. The earlier one differs from it even in a clone
    without history, by an older number and a line that has gone since.
    """
    folder = workshop / "template"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    archive = folder.with_suffix(".tar")
    git(TEMPLATE, "archive", "--output", str(archive), earlier_commit())
    subprocess.run(["tar", "-x", "-f", archive, "-C", folder], check=True)
    questions = (folder / "cookiecutter.json").read_text(encoding="utf-8")
    numbered = re.sub(r'("__template_version": )"[^"]+"', rf'\1"{EARLIER_VERSION}"', questions)
    (folder / "cookiecutter.json").write_text(numbered, encoding="utf-8")
    with (folder / "<<cookiecutter.project_slug>>" / ".gitignore").open("a") as ignored:
        ignored.write(f"{DROPPED_SINCE}\n")
    earlier = commit(folder, "The earlier version")

    git(folder, "rm", "--quiet", "-r", ".")
    copy_working_tree(folder)
    commit(folder, "The later version")
    return folder, earlier


@pytest.fixture
def cruft(workshop: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """cruft(folder, *arguments): what cruft's own command does there."""
    home = workshop / "home"
    home.mkdir(exist_ok=True)

    def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cruft", *arguments],
            cwd=folder,
            env=os.environ | {"HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    return run


def make_it_ours(project: Path) -> None:
    """Change a project as a team does: an endpoint with a test, a page, another requirement."""
    package = project / "src" / "my_service"
    (package / "handlers" / "hello.py").write_text(HELLO)
    (project / "tests" / "handlers" / "test_hello.py").write_text(TEST_HELLO)
    edit(
        package / "routes.py",
        "from .handlers.home import Home\n",
        "from .handlers.hello import Hello\nfrom .handlers.home import Home\n",
    )
    me = '    url(r"/api/me", Me, name="me"),\n'
    edit(package / "routes.py", me, me + '    url(r"/api/hello", Hello, name="hello"),\n')
    end = "{% end %}\n"
    home = package / "templates" / "home.html"
    text = home.read_text(encoding="utf-8")
    assert text.endswith(end)
    home.write_text(f"{text.removesuffix(end)}{OUR_WORDS}\n{end}", encoding="utf-8")
    edit(
        project / "pyproject.toml",
        '    "prometheus-client",\n',
        '    "prometheus-client",\n    "pyyaml",\n',
    )
    (pinned,) = re.findall(
        r"^pyyaml==.*\n(?:    --hash.*\n)+", (project / "requirements-dev.txt").read_text(), re.M
    )
    with (project / "requirements.txt").open("a") as lock:
        lock.write(pinned)


@pytest.fixture(scope="module")
def made(workshop: Path) -> Path:
    """Where projects of the earlier version are made."""
    folder = workshop / "made"
    folder.mkdir()
    return folder


def test_an_update_keeps_what_a_team_has_done(
    template: tuple[Path, str], made: Path, cruft: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """cruft's create, check and update lead to the later version, the team's work and its secret.

    Nothing is rejected, and the project's own checks and tests are content.
    """
    repository, earlier = template
    done = cruft(
        made, "create", repository, "--checkout", earlier, "--no-input", "--output-dir", made
    )
    assert done.returncode == 0, done.stdout
    project = made / "my-service"
    recorded = json.loads((project / ".cruft.json").read_text())
    assert recorded["commit"] == earlier
    assert recorded["context"]["cookiecutter"]["project_name"] == "My Service"
    assert EARLIER_VERSION in (project / "README.md").read_text()

    git(project, "init", "--quiet", "--initial-branch=main")
    make_it_ours(project)
    commit(project, "What makes it ours")
    secret = (project / ".env").read_bytes()
    done = cruft(project, "check", "--checkout", "main")
    assert done.returncode == 1, done.stdout

    done = cruft(project, *UPDATE)
    assert done.returncode == 0, done.stdout
    assert not [*project.rglob("*.rej"), *project.rglob("*.orig")], done.stdout
    assert git(project, "diff", "--name-only", "--diff-filter=U") == ""
    assert cruft(project, "check", "--checkout", "main").returncode == 0

    assert (project / ".env").read_bytes() == secret
    assert EARLIER_VERSION not in (project / "README.md").read_text()
    assert DROPPED_SINCE not in (project / ".gitignore").read_text()
    assert OUR_WORDS in (project / "src/my_service/templates/home.html").read_text()
    assert '"pyyaml"' in (project / "pyproject.toml").read_text()
    updated = Project(project, "nginx", 8000)
    updated.set_up(packages=environment(project).parent)
    updated.must("make", "check")
    assert "failed" not in updated.must("make", "test")


def test_a_project_of_cookiecutters_can_be_linked_later(
    template: tuple[Path, str],
    workshop: Path,
    cruft: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """A project without a link is linked to its version, then updates as others do."""
    repository, earlier = template
    folder = workshop / "linked"
    # Cookiecutter takes a folder as it is; only of an address does it check a version out.
    made = subprocess.run(
        [sys.executable, "-m", "cookiecutter", f"git+{repository.as_uri()}", "--default-config",
         "--no-input", "--checkout", earlier, "--output-dir", folder],
        env=os.environ | {"HOME": str(workshop / "home")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    project = folder / "my-service"
    secret = (project / ".env").read_bytes()
    (project / ".cruft.json").unlink(missing_ok=True)
    git(project, "init", "--quiet", "--initial-branch=main")
    done = cruft(project, "link", repository, "--checkout", earlier, "--no-input")
    assert done.returncode == 0, done.stdout
    commit(project, "Linked to its template")
    done = cruft(project, *UPDATE)
    assert done.returncode == 0, done.stdout
    assert not [*project.rglob("*.rej")], done.stdout
    assert EARLIER_VERSION not in (project / "README.md").read_text()
    assert (project / ".env").read_bytes() == secret
