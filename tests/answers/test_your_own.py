"""The instructions of docs/your-own.md for a company work, word for word."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bake import FORK as OWN
from tests.bake import TEMPLATE, package_of
from tests.history import commit, edit, git, repository_of_the_template

TEXT = (TEMPLATE / "docs" / "your-own.md").read_text(encoding="utf-8")
ADDRESS = "https://git.example.com/org/tornado-deploy"
Terminal = Callable[..., subprocess.CompletedProcess[str]]


BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
ANSWERS, GENERATE, FORK, SENTENCES, QUESTIONS, FILES, MERGE = [text for _, text in BLOCKS]
MARK = re.compile(r'^ +"_fork_from_here": ".*",\n', re.MULTILINE)
FILE = "<<cookiecutter.project_slug>>"
PACKAGE = f"{FILE}/src/<<cookiecutter.__package_name>>"
# Of all tests those that a fork's own questions and files could fail.
GUARDS = (
    "tests/answers/test_good.py::test_every_question_reads_as_a_sentence",
    "tests/rendered/test_files.py::test_a_trace_is_found",
    "tests/rendered/test_files.py::test_every_derived_value_is_used",
    *(
        f"tests/rendered/test_files.py::{name}[nginx-supervisord-sqlite-passwords-github-office]"
        for name in (
            "test_every_file_can_be_read",
            "test_the_map_is_true",
            "test_choices_that_were_not_made_leave_no_trace",
            "test_text_files_end_cleanly",
        )
    ),
)
# What upstream does later, beside each place of a fork: in a file, after a line, these lines.
LATER = [
    ("cookiecutter.json", '  "ci": ["github", "gitlab", "none"],\n', '  "tone": "warm",\n'),
    (
        "cookiecutter.json",
        '      "none": "nothing"\n    },\n',
        '    "tone": "Tone of its pages",\n',
    ),
    ("cookiecutter.json", '  "_copy_without_render": [', '"*/later/*", '),
    ("CHANGELOG.md", "## [Unreleased]\n", "\n- Later.\n"),
    ("releases.json", "{", '"0.0.1": "a digest"'),
    (f"{FILE}/README.md", "## Test\n", "\nLater << cookiecutter.tone >>.\n"),
    (f"{FILE}/pyproject.toml", "[tool.ruff]\n", "# Later.\n"),
    (f"{PACKAGE}/static/style.css", "/* Text */\n", "/* Later. */\n"),
    (f"{PACKAGE}/static/robots.txt", "User-agent: *\n", "# Later.\n"),
]


def test_a_file_gives_everyone_the_same_answers(terminal: Terminal, tmp_path: Path) -> None:
    """A project generated with the example's file has its answers."""
    (tmp_path / "our-answers.yaml").write_text(ANSWERS)
    command = GENERATE.split()
    assert command[:3] == ["cookiecutter", "--config-file", "our-answers.yaml"]
    made = terminal(*command[1:3], "--no-input", TEMPLATE)
    assert made.returncode == 0, made.stderr
    project = tmp_path / "my-service"
    described = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert described["authors"] == [{"name": "The Platform Team", "email": "platform@example.com"}]
    assert (project / "deploy" / "haproxy").is_dir()
    assert (project / ".gitlab-ci.yml").exists()
    assert any(name.startswith("psycopg") for name in described["dependencies"])


@pytest.mark.skipif(
    OWN.exists(), reason="only upstream shows this: a fork has made its first commit already"
)
def test_a_fork_merges_a_later_version(terminal: Terminal, tmp_path: Path) -> None:
    """A fork made as the page says merges an upstream that changed the lines beside its own.

    There is no conflict, its own tests and ours are content before and after, and a project has
    both parts.
    """
    upstream, fork = tmp_path / "upstream", tmp_path / "our-template"
    upstream.mkdir()
    repository_of_the_template(upstream, tag="0.0.1")
    shell(tmp_path, FORK.replace(ADDRESS, str(upstream)))
    asked = fork / "cookiecutter.json"
    sentences, questions = MARK.findall(asked.read_text(encoding="utf-8"))
    edit(asked, sentences, f"{sentences}\n{SENTENCES}")
    edit(asked, questions, f"{questions}\n{QUESTIONS}")
    shell(fork, FILES)
    guard = f"'{sys.executable}' -B -m pytest -q -p no:cacheprovider own {shlex.join(GUARDS)}"
    shell(fork, guard)

    for name, line, added in LATER:
        edit(upstream / name, line, line + added)
    edit(upstream / "cookiecutter.json", '__template_version": "0', '__template_version": "9')
    commit(upstream, "Later")
    git(upstream, "tag", "9.0.0")
    pull, check = MERGE.splitlines()
    assert check == "make test"
    shell(fork, pull.replace(ADDRESS, str(upstream)))
    assert git(fork, "tag") == ""
    shell(fork, guard)

    made = terminal(fork, "--no-input", "cost_center=1234")
    assert made.returncode == 0, made.stderr
    project = tmp_path / "my-service"
    assert (
        project / "deploy" / "owner.yml"
    ).read_text() == 'cost_center: "1234"\non_call: office\n'
    readme = (project / "README.md").read_text(encoding="utf-8")
    for part in ("Later warm.", "tornado-deploy\n1.0.0", "Maintained by The Platform Team"):
        assert part in readme
    refused = terminal(fork, "--no-input", "cost_center=12", "tone=", "-o", tmp_path / "none")
    assert "cost_center is '12'; allowed: four digits." in refused.stderr
    assert "tone is empty" in refused.stderr
    assert "#0b4f8a" in (package_of(project) / "static" / "theme.css").read_text()


def test_a_fork_has_lint_rules_of_its_own(bake: Callable[..., Path]) -> None:
    """The example's ruff.toml adds to the rules of pyproject.toml, and takes none away."""
    project = bake()
    rules = re.search(r"ruff.toml << 'END'\n(.*?)END\n", FILES, re.DOTALL)[1]
    (project / "ruff.toml").write_text(rules)
    bad = 'import os\n\nTEXT = " ".join(["a", "b"])\n'
    (project / "tests" / "test_bad.py").write_text(bad)
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    found = re.findall(r"^(\S+?):\d+:\d+: ([A-Z]+\d+)", done.stdout, re.MULTILINE)
    assert found == [("tests/test_bad.py", "F401"), ("tests/test_bad.py", "FLY002")]


def test_a_platform_team_sees_where_each_service_stands(project: Path, tmp_path: Path) -> None:
    """The lines of docs/many-services.md name the release of each service, and what is after it."""
    text = (TEMPLATE / "docs" / "many-services.md").read_text(encoding="utf-8")
    lines = text.split("```\n")[1].replace(ADDRESS, "origin")
    template = tmp_path / "origin"
    template.mkdir()
    git(template, "init", "--quiet")
    commits = [commit(template, "Released")]
    git(template, "tag", "1.4.0")
    commits.append(commit(template, "Not released"))
    for number, made in enumerate(commits):
        service = tmp_path / f"service-{number}"
        service.mkdir()
        link = json.loads((project / ".cruft.json").read_text()) | {"commit": made}
        (service / ".cruft.json").write_text(json.dumps(link, indent=2))
        git(service, "init", "--quiet")
        commit(service, "Made")
    addresses = [(tmp_path / f"service-{number}").as_uri() for number in (0, 1)]
    (tmp_path / "services.txt").write_text("".join(f"{address}\n" for address in addresses))
    assert shell(tmp_path, lines).splitlines() == [
        f"1.4.0  {addresses[0]}",
        f"1.4.0-1-g{commits[1][:7]}  {addresses[1]}",
    ]


def shell(folder: Path, commands: str) -> str:
    """Run these as somebody would who has a name in git; return what they say."""
    name = "git config --global user.name Nobody; git config --global user.email n@example.com"
    done = subprocess.run(
        ["sh", "-ec", f"export HOME=$PWD; {name}\n{commands}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
