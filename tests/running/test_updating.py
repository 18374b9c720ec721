"""A project that a team has made its own takes over the next release of its template."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bake import CONTEXT, bake, files_of
from tests.environment import environment
from tests.history import commit, copy_working_tree, edit, git
from tests.rendered.test_ci import jobs_of, proposal_of, script_of
from tests.running.projects import Project, environment_for

pytestmark = pytest.mark.full

EARLIER = "0.0.9"
LATER = CONTEXT["__template_version"]
DROPPED_SINCE = "/dropped-since/"
BY_HAND = "- Greet everybody by hand.\n"
OF_A_FORK = "- Greet the platform team."
# Behind what this machine may configure for git, for which no file is read.
NOBODY = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
# What an update changes is tested elsewhere; here only the team's own part.
TEAMS_TESTS = {"PYTEST_ADDOPTS": "tests/handlers/test_hello.py tests/test_settings.py"}

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
NICKNAMES = '''"""Users have nicknames."""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    op.add_column("users", sa.Column("nickname", sa.String(64), nullable=True))


def downgrade() -> None:
    op.drop_column("users", "nickname")
'''
GREETING = '    greeting: str = setting("Service", "What visitors read.", default="Hello")\n\n'
OUR_WORDS = "<p>Looked after by the team on the third floor.</p>"
TOKEN = "a-token"  # noqa: S105
# In place of a program that asks GitHub: it notes what it gets.
NOTE = '#!/bin/sh\necho "$@" >> "$NOTES"\n'


def write_earlier(folder: Path) -> None:
    """Make the template as it is here an earlier release."""
    copy_working_tree(folder)
    number = f'"__template_version": "{LATER}"'
    edit(folder / "cookiecutter.json", number, number.replace(LATER, EARLIER))
    with (folder / "<<cookiecutter.project_slug>>" / ".gitignore").open("a") as ignored:
        ignored.write(f"{DROPPED_SINCE}\n")


def write_later(folder: Path) -> None:
    """Make it the next release: as it is here, with a new question and changes beside a team's."""
    git(folder, "rm", "--quiet", "-r", ".")
    copy_working_tree(folder)
    question = '  "first_port": "8000",'
    edit(folder / "cookiecutter.json", question, f'  "tone": ["warm", "cool"],\n{question}')
    changelog = folder / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    news = f"## [Unreleased]\n\n## [{LATER}] - 2026-01-01\n\n### By hand\n\n{BY_HAND}\n"
    changelog.write_text(text.replace("## [Unreleased]\n", news, 1), encoding="utf-8")
    # The template may be a fork, with a changelog of its own.
    (folder / "own").mkdir()
    fork = f"## [Unreleased]\n\n## [{LATER}] - 2026-01-01\n\n### By hand\n\n{OF_A_FORK}\n"
    (folder / "own" / "CHANGELOG.md").write_text(fork)
    project = folder / "<<cookiecutter.project_slug>>"
    package = project / "src" / "<<cookiecutter.__package_name>>"
    for lock in ("requirements.txt", "requirements-dev.txt"):
        entry = entry_of("python-dotenv", (project / lock).read_text())
        # The same entry, its hashes in another order.
        first, one, two = entry.splitlines()
        turned = "\n".join([first, f"{two} \\", one.rstrip(" \\"), ""])
        edit(project / lock, entry, turned)
    for name, old in {
        "routes.py": '"""Your URLs',
        "settings.py": '"""Your settings',
        "static/theme.css": "/* Colours,",
        "accounts/tables.py": '"""The tables',
    }.items():
        edit(package / name, old, old.replace(" ", " new: ", 1))


def make_it_ours(project: Project) -> None:
    """Change a project as a team does: routes, handlers, settings, tables, style, locks."""
    package, folder = project.package, project.folder
    (package / "handlers" / "hello.py").write_text(HELLO)
    (folder / "tests" / "handlers" / "test_hello.py").write_text(TEST_HELLO)
    home = "from .handlers.home import Home\n"
    edit(package / "routes.py", home, f"from .handlers.hello import Hello\n{home}")
    me = '    url(r"/api/me", Me, name="me"),\n'
    edit(package / "routes.py", me, f'{me}    url(r"/api/hello", Hello, name="hello"),\n')
    edit(package / "settings.py", "    database_url:", f"{GREETING}    database_url:")
    name = "    name: Mapped[str] = mapped_column(String(64), unique=True)\n"
    nickname = "    nickname: Mapped[str | None] = mapped_column(String(64))\n"
    edit(package / "accounts" / "tables.py", name, name + nickname)
    (package / "migrations" / "versions" / "0003_nickname.py").write_text(NICKNAMES)
    edit(package / "static" / "theme.css", "--card: #ffffff", "--card: #fffff0")
    page = package / "templates" / "home.html"
    text = page.read_text(encoding="utf-8")
    end = "{% end %}\n"
    assert text.endswith(end)
    page.write_text(f"{text.removesuffix(end)}{OUR_WORDS}\n{end}", encoding="utf-8")
    client = '    "prometheus-client",\n'
    edit(folder / "pyproject.toml", client, f'{client}    "pyyaml",\n')
    # It comes behind what the later release changes, so git cannot merge them.
    lock = folder / "requirements.txt"
    pyyaml = entry_of("pyyaml", (folder / "requirements-dev.txt").read_text())
    before = entry_of("python-dotenv", lock.read_text())
    edit(lock, before, before + pyyaml)


def entry_of(package: str, lock: str) -> str:
    """The lines of a package in the text of a lock."""
    (entry,) = re.findall(rf"^{package}==.*\n(?:    --hash.*\n)+", lock, re.MULTILINE)
    return entry


@dataclass(frozen=True)
class Updating:
    """A project of the earlier release that a team works on, when the later one is there."""

    project: Project
    template: Path
    origin: Path
    home: Path

    def git(self, *arguments: str) -> str:
        return git(self.project.folder, *arguments)

    def run(self, *lines: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run lines as CI runs them."""
        variables = {"HOME": str(self.home), **NOBODY, **TEAMS_TESTS, **environment}
        return subprocess.run(
            ["sh", "-ec", "\n".join(lines)],
            cwd=self.project.folder,
            env=environment_for(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def ready(workshop: Path) -> Updating:
    """A project made by the README's command, with a team's work, when the next release appears."""
    home, made = workshop / "home", workshop / "made"
    template, origin = workshop / "org" / "tornado-deploy.git", workshop / "origin.git"
    for folder in (home, made, template):
        folder.mkdir(parents=True)
    git(template, "init", "--quiet", "--initial-branch=main")
    write_earlier(template)
    commit(template, "The earlier release")
    git(template, "tag", EARLIER)

    # "gh:" is where this test wants it; else the command is the README's.
    config = home / "cookiecutter.json"
    places = {"gh": f"git+{workshop.as_uri()}/{{0}}.git"}
    folders = {name: str(home / name) for name in ("cookiecutters_dir", "replay_dir")}
    config.write_text(json.dumps({"abbreviations": places, **folders}))
    subprocess.run(
        [environment_program("cookiecutter"), "gh:org/tornado-deploy", "--no-input"],
        env=environment_for(HOME=str(home), COOKIECUTTER_CONFIG=str(config), **NOBODY),
        cwd=made,
        check=True,
        capture_output=True,
    )
    project = Project(made / "my-service", "nginx", 8000)
    git(project.folder, "init", "--quiet", "--initial-branch=main")
    commit(project.folder, "As it was made")
    make_it_ours(project)
    project.set_up(packages=environment(project.folder).parent)
    project.must("make", "fix")
    commit(project.folder, "What makes it ours")
    git(workshop, "init", "--quiet", "--bare", str(origin))
    git(origin, "config", "receive.advertisePushOptions", "true")
    hook = 'printf "%s\\n" $GIT_PUSH_OPTION_0 $GIT_PUSH_OPTION_1 > push-options\n'
    (origin / "hooks" / "pre-receive").write_text(f"#!/bin/sh\n{hook}")
    (origin / "hooks" / "pre-receive").chmod(0o755)
    git(project.folder, "remote", "add", "origin", str(origin))
    git(project.folder, "push", "--quiet", "origin", "main")

    write_later(template)
    commit(template, "The later release")
    git(template, "tag", LATER)
    edit(template / "README.md", "# tornado-deploy\n", "# tornado-deploy, after the release\n")
    commit(template, "Not released yet")
    return Updating(project, template, origin, home)


def environment_program(name: str) -> str:
    """The path of a program that is installed beside this Python."""
    return str(Path(os.sys.executable).parent / name)


@pytest.fixture
def updating(ready: Updating) -> Iterator[Updating]:
    """The same project, as the team has committed it."""
    committed = ready.git("rev-parse", "main").strip()
    yield ready
    ready.git("switch", "--quiet", "--force", "main")
    ready.git("reset", "--quiet", "--hard", committed)
    ready.git("clean", "--quiet", "--force", "-d")


def test_ci_updates_what_a_team_has_made_its_own(updating: Updating, tmp_path: Path) -> None:
    """The weekly job's own lines lead to the next release, without a hand, and propose it.

    The team's routes, handlers, settings, tables, style and secret stay; locks that both have
    changed are locked anew; the project's checks and tests are content.
    """
    project, notes = updating.project, tmp_path / "notes"
    secret = (project.folder / ".env").read_bytes()
    (tmp_path / "gh").write_text(NOTE)
    (tmp_path / "gh").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    job = jobs_of(project.folder)["update"]
    said = updating.run(*script_of(job), WHAT="update")
    assert said.returncode == 0, said.stdout
    assert "Locked anew, since both had changed requirements.txt." in said.stdout
    assert "New question tone: answered 'warm'" in said.stdout
    assert BY_HAND.strip() in said.stdout
    assert OF_A_FORK in said.stdout
    assert f"{LATER}:" in said.stdout

    proposed = updating.run(*proposal_of(job), PATH=path, NOTES=str(notes))
    assert proposed.returncode == 0, proposed.stdout
    branch = f"template-{LATER}"
    assert f"pr create --fill --head {branch}" in notes.read_text()
    assert git(updating.origin, "rev-parse", branch) == updating.git("rev-parse", "HEAD")
    assert updating.git("status", "--porcelain") == ""
    assert "Greet everybody by hand" in updating.git("log", "-1", "--format=%B")

    link = json.loads((project.folder / ".cruft.json").read_text())
    assert link["commit"] == git(updating.template, "rev-parse", f"{LATER}^{{commit}}").strip()
    assert (project.folder / ".env").read_bytes() == secret
    assert DROPPED_SINCE not in (project.folder / ".gitignore").read_text()
    for name, ours in {
        "routes.py": "Hello, name=",
        "settings.py": GREETING,
        "static/theme.css": "--card: #fffff0",
        "accounts/tables.py": "nickname",
    }.items():
        text = (project.package / name).read_text()
        assert ours in text, name
        assert " new: " in text, name
    assert OUR_WORDS in (project.package / "templates/home.html").read_text()
    assert "\npyyaml==" in (project.folder / "requirements.txt").read_text()

    # The request is open: the next week neither asks twice nor fails.
    again = updating.run(*proposal_of(job), PATH=path, NOTES=str(notes))
    assert again.returncode == 0, again.stdout
    assert notes.read_text().count("pr create") == 1
    said = updating.run("make update")
    assert (said.returncode, f"this project has {LATER}" in said.stdout) == (0, True), said.stdout


def test_gitlab_gets_a_merge_request(updating: Updating, tmp_path: Path) -> None:
    """GitLab's lines push a branch of the update with the options that open a request."""
    lines = proposal_of(jobs_of(bake(tmp_path, ci="gitlab"))["update"])
    updating.git("switch", "--quiet", "--create", "template-9.9.9")
    address = f"https://token:{TOKEN}@gitlab.example/group/my-service.git"
    ci = {
        "CI_REPOSITORY_URL": address.replace(f"token:{TOKEN}", "gitlab-ci-token:other"),
        "CI_DEFAULT_BRANCH": "main",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{updating.origin}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
    }
    refused = updating.run(*lines, **ci)
    assert (refused.returncode, "UPDATE_TOKEN is missing" in refused.stdout) == (1, True)
    done = updating.run(*lines, **ci, UPDATE_TOKEN=TOKEN)
    assert done.returncode == 0, done.stdout
    assert TOKEN not in done.stdout
    options = (updating.origin / "push-options").read_text().split()
    assert options == ["merge_request.create", "merge_request.target=main"]
    assert git(updating.origin, "rev-parse", "template-9.9.9") == updating.git("rev-parse", "HEAD")
    updating.git("switch", "--quiet", "main")
    assert updating.run(*lines, **ci).returncode == 0, "nothing was to be proposed"


def test_a_conflict_is_an_error(updating: Updating) -> None:
    """Where both have changed one line, the update names the file and ends with an error.

    It gets there also where git is set to make no links.
    """
    routes = updating.project.package / "routes.py"
    edit(routes, '"""Your URLs', '"""Our URLs')
    commit(updating.project.folder, "Our words")
    no_links = {"GIT_CONFIG_KEY_0": "core.symlinks", "GIT_CONFIG_VALUE_0": "false"}
    said = updating.run("make update COMMIT=1", **no_links, GIT_CONFIG_COUNT="1")
    assert said.returncode != 0
    assert "resolve the conflicts in these files" in said.stdout
    assert "src/my_service/routes.py" in said.stdout
    assert "make lock setup check test" in said.stdout
    assert updating.git("branch", "--show-current").strip() == "main"


def test_what_cannot_be_updated_says_so(updating: Updating) -> None:
    """A tree with changes, a project without a link, a template without releases are refused."""
    link = updating.project.folder / ".cruft.json"
    linked = link.read_text()
    (updating.project.folder / "new.txt").touch()
    assert "commit or remove these first:\n?? new.txt" in failing(updating, "make update")
    (updating.project.folder / "new.txt").unlink()
    link.unlink()
    commit(updating.project.folder, "Without a link")
    assert "says how to link this project" in failing(updating, "make update")
    link.write_text(linked.replace(str(updating.template), "/nowhere"))
    commit(updating.project.folder, "Without a template")
    assert "'/nowhere' does not appear to be a git repository" in failing(updating, "make update")


def test_locks_are_proposed(updating: Updating, tmp_path: Path) -> None:
    """`make locks` commits what `make lock` has changed to a branch, and names the versions."""
    # In place of make, since a test has no newer versions: it moves one pin the first time.
    moved = "s/^cruft==.*[0-9]/cruft==99.1/"
    fake = f'#!/bin/sh\ntest "$1" != lock || sed -i "{moved}" requirements-template.txt\n'
    (tmp_path / "make").write_text(fake)
    (tmp_path / "make").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    said = updating.run('"$PYTHON" deploy/update --locks --commit', PATH=path)
    assert said.returncode == 0, said.stdout
    assert re.search(r"^cruft: [\d.]+ -> 99\.1$", updating.git("log", "-1", "--format=%B"), re.M)
    assert updating.git("branch", "--show-current").strip() == "locks"
    said = updating.run('"$PYTHON" deploy/update --locks --commit', PATH=path)
    assert (said.returncode, "Nothing to do" in said.stdout) == (0, True), said.stdout


def test_answers_are_changed(updating: Updating, tmp_path: Path) -> None:
    """`make answers` gives the project that other answers would have given, and says what remains.

    A value may hold what a shell would read; a name nobody asks for, or that of the service, is
    refused.
    """
    description = "A; \"b\" 'c' d=e"
    given = {"process_count": "2", "description": description}
    said = updating.run('make answers process_count=2 description="$D"', D=description)
    assert said.returncode == 0, said.stdout
    assert "process_count: More processes open more connections" in said.stdout
    fresh = files_of(bake(tmp_path, **given))
    for name in ("deploy/local/nginx.conf", "deploy/roll", "deploy/local/stack"):
        assert (updating.project.folder / name).read_bytes() == fresh[name], name
    assert (
        json.loads((updating.project.folder / ".cruft.json").read_text())["context"][
            "cookiecutter"
        ].items()
        >= given.items()
    )
    updating.git("reset", "--quiet", "--hard")
    said = failing(updating, "make answers proces_count=3")
    assert "no question is called proces_count" in said
    assert "choose one of sqlite, postgresql" in failing(updating, "make answers database=oracle")
    assert "project_slug stays" in failing(updating, "make answers project_slug=other")


def failing(updating: Updating, line: str) -> str:
    """What a line says that has to end with an error."""
    said = updating.run(line)
    assert said.returncode != 0, said.stdout
    return said.stdout
