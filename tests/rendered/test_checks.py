"""A new project passes its own checks, with any answers."""

import ast
import contextlib
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bake import CHOICES, CONTEXT, TEMPLATE, covering, files_of
from tests.bake import bake as bake_into
from tests.environment import CACHE, environment, tools
from tests.relock import QUESTIONS
from tests.rendered.test_ci import FILES

NASTY = "\"'\\ \\u0041 %s ${x} {{ y }} {% z %} # < > & \N{WOMAN}"
EXTREMES = [
    *covering(leaving_out=("ci",)),
    {"project_slug": "a"},
    {"project_slug": "s" * 32},
    {"project_slug": "-".join(["ab"] * 11)},
    {"project_slug": "zzz-" + "z" * 28, "first_port": "65092", "process_count": "64"},
    {
        "project_slug": "my-service",
        "project_name": NASTY,
        "description": NASTY,
        "author_name": NASTY,
    },
    {"project_slug": "my-service", "project_name": '"' * 60, "description": "\\" * 200},
    {"domain_name": ".".join(["a" * 63] * 3 + ["b" * 61])},
]


def tool(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("answers", EXTREMES, ids=str)
def test_ruff_finds_nothing(answers: dict[str, str], bake: Callable[..., Path]) -> None:
    """With the project's own settings ruff changes and reports nothing."""
    project = bake(**answers)
    tool(sys.executable, "-m", "ruff", "format", "--no-cache", "--diff", cwd=project)
    tool(sys.executable, "-m", "ruff", "check", "--no-cache", cwd=project)


# A line of Python depends on two choices at most, and on `ci` none.
@pytest.mark.xdist_group("mypy")
@pytest.mark.parametrize("answers", covering(leaving_out=("ci",)), ids=str)
def test_mypy_finds_nothing(
    answers: dict[str, str], bake: Callable[..., Path], tmp_path: Path
) -> None:
    """With the project's own settings mypy reports nothing."""
    project = bake(**answers)
    mypy = environment(project, compiled=False) / "mypy"
    cache = tmp_path / "cache"
    shutil.copytree(cache_of_packages(mypy, project), cache)
    tool(mypy, "--cache-dir", cache, cwd=project)


def cache_of_packages(mypy: Path, project: Path) -> Path:
    """A cache in which mypy has read what the project imports, but none of its own modules.

    Reading the packages takes five times as long as the project. Two projects must not share a
    cache: mypy 2.4.1 takes some modules of the first for those of the second.
    """
    packages = packages_imported(project)
    text = "".join(f"import {name}\n" for name in packages)
    version = hashlib.sha256(f"{mypy}{text}".encode()).hexdigest()[:16]
    cache = CACHE / "mypy" / version
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
            imports = Path(folder, "imports.py")
            imports.write_text(text, encoding="utf-8")
            tool(mypy, "--cache-dir", Path(folder, "cache"), imports, cwd=project)
            # It appears as a whole, and stays that of a test that was faster.
            with contextlib.suppress(OSError):
                Path(folder, "cache").rename(cache)
    return cache


def packages_imported(project: Path) -> list[str]:
    """The modules that a project imports and that are neither its own nor Python's."""
    own = {"tests", "my_service", *sys.stdlib_module_names}
    names: set[str] = set()
    for folder in ("src", "tests"):
        for file in (project / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    names.add(node.module)
    return sorted(name for name in names if name.partition(".")[0] not in own)


def test_ci_changes_nothing_that_runs(tmp_path: Path) -> None:
    """Projects that differ only in `ci` have the same Python, settings and all else that runs.

    So tests of running projects may leave `ci` out.
    """
    projects = [files_of(bake_into(tmp_path / ci, ci=ci)) for ci in CHOICES["ci"]]
    names = set().union(*projects)
    different = {name for name in names if len({project.get(name) for project in projects}) > 1}
    texts = {"README.md", "deploy/README.md"}
    assert different == {".cruft.json", ".env", *texts}.union(*FILES.values())


def test_bandit_finds_nothing(project: Path) -> None:
    """bandit reports nothing in the code for servers, except the reasoned cases here."""
    argued = (
        "B101",  # asserts tell the type checker what `authenticated` and pydantic have made sure of
        "B404,B603,B607",  # programs are run without a shell and with no word of a visitor's
        "B411",  # the XML that deploy/roll reads comes from supervisord's own socket
    )
    code = ("src", "deploy/publish", "deploy/roll", "deploy/local/stack", "deploy/release")
    tool(tools("bandit") / "bandit", "-q", "-s", ",".join(argued), "-r", *code, cwd=project)


def locked(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_locked(lock: str, project: Path) -> None:
    """Each requirement has one version and its hashes, and no index is named."""
    text = (project / lock).read_text(encoding="utf-8")
    assert locked(text)
    entries = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE).strip())
    for entry in entries:
        assert re.match(r"[a-z0-9][a-z0-9._-]*==[^ ]+ ", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_both_locks_name_the_same_tools(project: Path) -> None:
    """The template tests projects with the same tools that the projects use."""
    here = locked((TEMPLATE / "requirements.txt").read_text(encoding="utf-8"))
    there = locked((project / "requirements-dev.txt").read_text(encoding="utf-8"))
    shared = ("ruff", "mypy", "supervisor", "tornado")
    assert {name: there[name] for name in shared} == {name: here[name] for name in shared}


@pytest.mark.parametrize(
    "answers",
    [{question: option} for question in QUESTIONS for option in CHOICES[question]],
    ids=str,
)
def test_no_service_can_take_a_name_that_is_in_use(
    answers: dict[str, str], bake: Callable[..., Path]
) -> None:
    """The refused slugs include every requirement, its modules and its commands."""
    project = bake(**answers)
    hook = (TEMPLATE / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    (taken,) = [
        set(node.value.args[0].func.value.value.split())
        for node in ast.parse(hook).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "TAKEN"
    ]
    programs = environment(project, compiled=False)
    lists_modules = "import importlib.metadata as m; print(*m.packages_distributions())"
    listed = subprocess.run(
        [programs / "python", "-c", lists_modules], capture_output=True, text=True, check=True
    )
    requirements = locked((project / "requirements-dev.txt").read_text(encoding="utf-8"))
    commands = (path.name for path in programs.iterdir())
    # Only what has the form of a slug, or of the package made from one, can clash.
    in_use = {
        *(re.sub("[.-]", "_", name) for name in requirements),
        *(
            name
            for name in listed.stdout.split()
            if re.fullmatch("[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
        ),
        *(re.sub("-", "_", name) for name in commands if re.fullmatch("[a-z][a-z0-9-]*", name)),
    }
    missing = sorted(in_use - taken)
    assert not missing, f"add to TAKEN: {' '.join(missing)}"


def test_a_project_records_the_version_of_its_template(project: Path) -> None:
    """The version is in one place of the template, and in each project's README."""
    version = CONTEXT["__template_version"]
    readme = " ".join((project / "README.md").read_text(encoding="utf-8").split())
    assert f"tornado-deploy {version}" in readme
    # `make release` heads with the version what is unreleased until then.
    changelog = (TEMPLATE / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{version}]" in changelog or "## [Unreleased]" in changelog
