"""The files for GitHub and GitLab run the same commands, which the project has."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
import yaml

from tests import interpreters
from tests.bake import CHOICES, TEMPLATE
from tests.environment import tools

FILES = {
    "github": {".github/workflows/check.yml", ".github/dependabot.yml"},
    "gitlab": {".gitlab-ci.yml", "renovate.json"},
    "none": set(),
}
SCHEMAS = {
    ".github/workflows/check.yml": "vendor.github-workflows",
    ".github/dependabot.yml": "vendor.dependabot",
    ".gitlab-ci.yml": "vendor.gitlab-ci",
    "renovate.json": "vendor.renovate",
}


def jobs_of(project: Path) -> dict[str, Any]:
    """The jobs of a project's CI file, whichever it has."""
    github = project / ".github/workflows/check.yml"
    if github.exists():
        return yaml.safe_load(github.read_text())["jobs"]
    return yaml.safe_load((project / ".gitlab-ci.yml").read_text())


def script_of(job: dict[str, Any]) -> list[str]:
    """The lines that a job runs in a shell, apart from those that only prepare its machine."""
    if "script" in job:
        return job["script"]
    return [step["run"] for step in job["steps"] if "run" in step and "name" not in step]


def proposal_of(job: dict[str, Any]) -> list[str]:
    """The lines that propose an update, once it is made."""
    if "script" in job:
        return job["script"][1:]
    return [step["run"] for step in job["steps"] if step.get("name") == "open a pull request"]


def preparation_of(job: dict[str, Any]) -> list[str]:
    """The lines that prepare the machine for the service's database."""
    if "script" in job:
        return [line for line in job.get("before_script", []) if "chmod" not in line]
    named = {step.get("name"): step.get("run", "") for step in job["steps"]}
    return named.get("prepare the database", "").splitlines()


def closing_line_of(job: dict[str, Any]) -> str:
    """The line with which a job on GitLab takes rights that its clone gives to everybody."""
    (line,) = [line for line in job["before_script"] if "chmod" in line]
    return line


@pytest.mark.parametrize("ci", CHOICES["ci"])
def test_only_the_files_of_the_choice_are_there(ci: str, bake: Callable[..., Path]) -> None:
    """A service that was not chosen has neither files nor folders."""
    project = bake(ci=ci)
    there = {name for names in FILES.values() for name in names if (project / name).exists()}
    assert there == FILES[ci]
    assert (project / ".github").exists() == (ci == "github")


@pytest.mark.parametrize("database", CHOICES["database"])
@pytest.mark.parametrize("job", ["check", "newest", "update"])
def test_both_services_run_the_same_lines(
    database: str, job: str, bake: Callable[..., Path], tmp_path: Path
) -> None:
    """GitLab runs the lines that GitHub runs, with the same preparation."""
    github = jobs_of(bake(ci="github", database=database, project_slug="one"))[job]
    gitlab = jobs_of(bake(ci="gitlab", database=database, project_slug="two"))[job]
    lines = [line.replace("/one ", "/two ") for line in script_of(github)]
    proposing = 1 if job == "update" else None
    assert lines == script_of(gitlab)[:proposing]
    assert preparation_of(github) == preparation_of(gitlab)
    assert bool(preparation_of(gitlab)) == (database == "postgresql")


@pytest.mark.parametrize("ci", [ci for ci, names in FILES.items() if names])
def test_the_newest_tornado_is_tried_each_week(ci: str, bake: Callable[..., Path]) -> None:
    """The job runs on a schedule, and its failure does not fail a change."""
    job = jobs_of(bake(ci=ci))["newest"]
    assert "schedule" in (job.get("if") or job["rules"][0]["if"])
    assert job.get("continue-on-error") or job.get("allow_failure")
    assert script_of(job) == ["make setup test-newest"]


@pytest.mark.parametrize("ci", [ci for ci, names in FILES.items() if names])
def test_what_is_new_is_asked_for_each_week(ci: str, bake: Callable[..., Path]) -> None:
    """The job runs where a schedule asks for it, fails if it cannot look, and may propose."""
    job = jobs_of(bake(ci=ci))["update"]
    assert "schedule" in (job.get("if") or job["rules"][0]["if"])
    assert not job.get("continue-on-error")
    assert not job.get("allow_failure")
    assert script_of(job)[0] == 'make "$WHAT" COMMIT=1'
    (what,) = job["parallel"]["matrix"] if ci == "gitlab" else [job["strategy"]["matrix"]]
    assert [*what.values()] == [["update", "locks"]]
    assert "push" in "\n".join(proposal_of(job))


DEPLOYS = {
    "servers": {},
    "cluster": {"process_manager": "containers", "database": "postgresql"},
}


@pytest.mark.parametrize("answers", DEPLOYS.values(), ids=DEPLOYS)
@pytest.mark.parametrize("ci", [ci for ci, names in FILES.items() if names])
def test_a_tag_is_deployed_where_that_is_wanted(
    ci: str, answers: dict[str, str], bake: Callable[..., Path]
) -> None:
    """The job runs for a tag if DEPLOY is true, after all checks, one at a time.

    Its environment may hold it back.
    """
    job = jobs_of(bake(ci=ci, **answers))["deploy"]
    assert (job.get("if") or job["rules"][0]["if"]) in (
        "vars.DEPLOY == 'true' && github.ref_type == 'tag'",
        '$CI_COMMIT_TAG && $DEPLOY == "true"',
    )
    assert job["needs"] == (["check", "image"] if answers else ["check"])
    assert job["environment"]["name"] == "production"
    assert (job.get("concurrency") or job["resource_group"]) == "production"


@pytest.mark.parametrize("answers", DEPLOYS.values(), ids=DEPLOYS)
def test_a_deploy_has_its_own_key(
    answers: dict[str, str], bake: Callable[..., Path], tmp_path: Path
) -> None:
    """Both services run the lines that give ssh a key, hosts to trust, and what the engine needs.

    Nobody else may read the key; a job without one fails, and says where the way is described.
    """
    github = bake(ci="github", project_slug="one", **answers)
    gitlab = bake(ci="gitlab", project_slug="two", **answers)
    lines = script_of(jobs_of(github)["deploy"])
    assert lines == script_of(jobs_of(gitlab)["deploy"])

    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    for name, line in {
        "getent": f"echo x:x:0:0:x:{home}:/bin/sh",
        "make": 'echo "make $@"',
        "docker": 'echo "docker $@ $(cat)"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "cookie_secret").write_text("secret")
    packed = run(
        ["tar", "-c", "-C", tmp_path, "secrets"], stdout=subprocess.PIPE, check=True
    ).stdout
    variables = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "DEPLOY_KEY": "first line\nlast line",
        "DEPLOY_KNOWN_HOSTS": "host key",
        "DEPLOY_SECRETS": base64.b64encode(packed).decode(),
        "IMAGE": "registry.example.com/one",
        "REGISTRY_USER": "me",
        "REGISTRY_PASSWORD": "pass",
    }

    def deploy(**more: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-ec", "\n".join(lines)]
        return run(
            command,
            cwd=github,
            env=variables | more,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )

    refused = deploy(DEPLOY_KEY="")
    assert (refused.returncode, "Deploy from CI" in refused.stdout) == (1, True)
    assert "## Deploy from CI" in (github / "deploy" / "README.md").read_text()
    assert not home.exists()
    done = deploy()
    assert done.returncode == 0
    login = "docker login --username me --password-stdin registry.example.com pass"
    assert done.stdout.splitlines() == ([login] if answers else []) + ["make deploy"]
    key = home / ".ssh" / "id_ed25519"
    assert key.read_text() == "first line\nlast line\n"
    assert key.stat().st_mode & 0o777 == 0o600
    assert (home / ".ssh" / "known_hosts").read_text() == "host key\n"
    if answers:
        assert (github / "deploy" / "secrets" / "cookie_secret").read_text() == "secret"


def test_zizmor_finds_nothing(bake: Callable[..., Path]) -> None:
    """Workflows hold no known weakness: in projects, and in this repository."""
    projects = [
        bake(ci="github", project_slug=name, **answers) for name, answers in DEPLOYS.items()
    ]
    folders = [folder / ".github" for folder in (TEMPLATE, *projects) if folder.exists()]
    command = [tools("zizmor") / "zizmor", "--offline", "--no-progress", *folders]
    done = run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_clone_of_gitlab_is_closed(bake: Callable[..., Path], tmp_path: Path) -> None:
    """Other users can write neither the project nor a folder above it; /tmp stays as it is."""
    folder = tmp_path / "builds/group/project"
    (folder / "src").mkdir(parents=True)
    shared = tmp_path / "builds"
    for one in (*folder.rglob("*"), folder, folder.parent):
        one.chmod(0o777)
    shared.chmod(0o1777)
    line = closing_line_of(jobs_of(bake(ci="gitlab"))["check"])
    run(["sh", "-ec", line], cwd=folder, check=True)
    modes = [one.stat().st_mode & 0o7777 for one in (folder / "src", folder, folder.parent, shared)]
    assert modes == [0o755, 0o755, 0o755, 0o1777]


def test_both_run_on_every_python(bake: Callable[..., Path]) -> None:
    """The CI files name the Pythons that the project supports."""
    github = jobs_of(bake(ci="github", project_slug="one"))["check"]["strategy"]["matrix"]
    (gitlab,) = jobs_of(bake(ci="gitlab", project_slug="two"))["check"]["parallel"]["matrix"]
    assert github["python"] == gitlab["PYTHON_VERSION"] == list(interpreters.SUPPORTED)


@pytest.mark.parametrize("ci", [ci for ci, names in FILES.items() if names])
def test_ci_files_match_their_schemas(ci: str, bake: Callable[..., Path]) -> None:
    """Each file has the keys and the types that its service, or its updater, knows."""
    projects = [bake(ci=ci, database=name, project_slug=name[:4]) for name in CHOICES["database"]]
    for name in FILES[ci]:
        command = [
            tools("check-jsonschema") / "check-jsonschema",
            "--builtin-schema",
            SCHEMAS[name],
        ]
        files = [project / name for project in projects]
        done = run([*command, *files], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def workflows_of(ci: str, bake: Callable[..., Path]) -> list[str]:
    """What this service runs for a generated project, and for this repository if it is there."""
    if ci == "gitlab":
        return [(bake(ci=ci) / ".gitlab-ci.yml").read_text()]
    folders = [folder / ".github/workflows" for folder in (bake(ci=ci), TEMPLATE)]
    return [file.read_text() for folder in folders for file in folder.iterdir()]


@pytest.mark.parametrize("ci", [ci for ci, names in FILES.items() if names])
def test_actions_and_packages_are_pinned(ci: str, bake: Callable[..., Path]) -> None:
    """An action has a commit and its version as a comment; pip's packages have hashes."""
    for text in workflows_of(ci, bake):
        for action in re.findall(r"uses: *(.*)", text):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)
        for install in re.findall(r"pip3? install.*", text):
            assert "--require-hashes -r requirements" in install


def test_no_bot_changes_a_pin_by_itself(bake: Callable[..., Path]) -> None:
    """The bots update what CI runs; packages are locked together; all of it after some days."""
    github = bake(ci="github", project_slug="one") / ".github/dependabot.yml"
    (updates,) = yaml.safe_load(github.read_text())["updates"]
    assert updates["package-ecosystem"] == "github-actions"
    assert updates["cooldown"]["default-days"] >= 7
    gitlab_project = bake(ci="gitlab", project_slug="two")
    gitlab = json.loads((gitlab_project / "renovate.json").read_text())
    assert gitlab["enabledManagers"] == ["gitlabci"]
    assert gitlab["minimumReleaseAge"] == "7 days"
    jobs = [jobs_of(folder)["update"] for folder in (github.parents[1], gitlab_project)]
    assert [(job.get("env") or job["variables"])["COOLDOWN"] for job in jobs] == ["7 days"] * 2


def test_ci_installs_every_lock(project: Path) -> None:
    """Each lock is installed on each supported Python; requirements.txt is a part of another."""
    made = run(
        ["make", "--dry-run", *script_of(jobs_of(project)["check"])[0].split()[1:]],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    locks = {file.name for file in project.glob("requirements*.txt")}
    assert {lock for lock in locks if f" {lock}\n" in made} == locks - {"requirements.txt"}
    pins = {
        name: set(re.findall(r"^\S+==\S+", (project / name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "requirements-dev.txt")
    }
    assert pins["requirements.txt"] < pins["requirements-dev.txt"]


def test_no_checkout_leaves_credentials_behind(bake: Callable[..., Path]) -> None:
    """Code under review finds no token of the repository in .git/config."""
    for text in workflows_of("github", bake):
        steps = [step for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]]
        checkouts = [step for step in steps if "actions/checkout@" in step.get("uses", "")]
        assert checkouts
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)
