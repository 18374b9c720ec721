"""The image and the files for its engines agree with each other and with the service."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bake import CHOICES, COMBINATIONS, CONTEXT, package_of
from tests.rendered.test_balancer_files import accepted, drain_seconds, find, number

IN_CONTAINERS = [
    answers
    for answers in COMBINATIONS
    if answers["process_manager"] == "containers" and answers["ci"] == CHOICES["ci"][0]
]
NOT_IN_CONTAINERS = ("playbook.yml", "tasks", "inventory", "supervisor", "systemd", "fleet")
USER = "10001:10001"
Bake = Callable[..., Path]

containers = pytest.mark.parametrize(
    "answers", IN_CONTAINERS, ids=lambda answers: "-".join(answers.values())
)


def services_of(project: Path) -> dict[str, dict[str, Any]]:
    """Each service of each engine's file, by the file's name and its own."""
    files = [project / "compose.yml", *sorted((project / "deploy").glob("swarm/*.yml"))]
    return {
        f"{file.name}: {name}": service
        for file in files
        for name, service in yaml.safe_load(file.read_text())["services"].items()
    }


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


@containers
def test_containers_bring_no_server(bake: Bake, answers: dict[str, str]) -> None:
    """Nothing of a server is there; several nodes come with a database that they can share."""
    project = bake(**answers)
    assert not [name for name in NOT_IN_CONTAINERS if (project / "deploy" / name).exists()]
    assert not (project / "requirements-deploy.txt").exists()
    assert (project / "deploy/swarm").exists() == (answers["database"] == "postgresql")
    (other,) = set(CHOICES["load_balancer"]) - {answers["load_balancer"]}
    assert not (project / "deploy" / other).exists()


def test_containers_get_the_settings_of_single_sign_on(bake: Bake) -> None:
    """Compose and the Swarm hand on each of them that is set, to what serves and what migrates."""
    project = bake(process_manager="containers", database="postgresql", sign_in="sso")
    settings = re.findall(r"^#(OIDC_\w+)=", (project / ".env.example").read_text(), re.MULTILINE)
    assert len(settings) > 5
    processes = [one for one in services_of(project).items() if "cookie_secret" in str(one)]
    assert len(processes) == 4
    for name, service in processes:
        given = {setting: "${" + setting + ":-}" for setting in settings}
        assert service["environment"] == given, name


@containers
def test_time_budget_of_containers(bake: Bake, answers: dict[str, str]) -> None:
    """A process that stops serves on until no name leads to it, drains, and only then is killed."""
    project = bake(**answers)
    image = project / "deploy/image/Dockerfile"
    unready = number(image, r"UNREADY_SECONDS=(\d+)")
    # The balancer asks for addresses each second; an engine may tell its nodes a second later.
    assert unready > 2
    checks = package_of(project) / "operations/checks/local.py"
    stops = {
        name: seconds(service["stop_grace_period"])
        for name, service in services_of(project).items()
        if name.endswith(": service")
    }
    assert len(stops) == (2 if answers["database"] == "postgresql" else 1)
    assert set(stops.values()) == {number(checks, r"STOP_SECONDS = (\d+)")}
    assert unready + drain_seconds(project) < min(stops.values())


@containers
def test_the_image_and_the_engines_name_the_same(bake: Bake, answers: dict[str, str]) -> None:
    """User, port and folders are those of the image; no file of the service can be written."""
    project = bake(**answers)
    image = (project / "deploy/image/Dockerfile").read_text()
    port = CONTEXT["first_port"]
    assert f"USER {USER}\n" in image
    assert f"PORT={port} " in image
    assert f"EXPOSE {port}\n" in image
    balancer = project / "deploy" / answers["load_balancer"]
    (main,) = balancer.glob("container.*")
    assert f"service:{port}" in main.read_text()
    services = services_of(project)
    for name, service in services.items():
        if not name.endswith("database"):
            assert service["user"] == USER, name
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert "ports" not in service or name.endswith("balancer"), name
    # The balancer's files are where its main file looks for the others.
    for name, service in services.items():
        if name.endswith("balancer") and "configs" in service:
            brought = {Path(config["target"]).name for config in service["configs"]}
            assert brought == {file.name for file in balancer.iterdir()} | {
                "unavailable.html",
                "unavailable.json",
            }


@containers
def test_the_balancer_accepts_its_files(
    bake: Bake, tmp_path: Path, answers: dict[str, str]
) -> None:
    """nginx or HAProxy takes what the containers give it, where they give it, without a warning."""
    project = bake(**answers)
    (engine,) = (
        service for name, service in services_of(project).items() if name == "compose.yml: balancer"
    )
    command = [*engine["entrypoint"], *engine.get("command", [])]
    folder = tmp_path / "balancer"
    ours = Path("deploy") / answers["load_balancer"]
    shutil.copytree(project / ours, folder / ours)
    static = Path("src/my_service/static")
    shutil.copytree(project / static, folder / static)
    for file in (folder / ours).iterdir():
        # What a container has for itself, its temporary folder and the engine's name server, stays.
        text = file.read_text().replace("/tmp/", f"{tmp_path}/")  # noqa: S108
        file.write_text(text)
    command = [str(folder) + "/" if part == "/srv/balancer/" else part for part in command]
    command[0] = find(command[0])
    check = "-t" if answers["load_balancer"] == "nginx" else "-c"
    said = accepted(*command, check, cwd=folder)
    assert not re.search(r"\[(warn|emerg|alert)\]|WARNING|ALERT", said), said


def test_the_engine_takes_what_is_named_by_content(bake: Bake) -> None:
    """In a Swarm the name of each secret, and file of the balancer, has the hash of its content."""
    project = bake(process_manager="containers", database="postgresql")
    program = (project / "deploy/swarm/deploy").read_text()
    assert "hashlib.sha256" in program
    for file in sorted((project / "deploy/swarm").glob("*.yml")):
        content = yaml.safe_load(file.read_text())
        for name, one in {**content["secrets"], **content.get("configs", {})}.items():
            variable = f"{name.replace('.', '_').upper()}_HASH"
            assert one["name"] == f"my-service_{name}_${{{variable}:?}}"
            path = file.parent / one["file"]
            assert path.exists() or path.parent.name == "secrets", path


def test_a_builder_sees_only_what_is_named(bake: Bake) -> None:
    """What the Dockerfile copies is let in; secrets, data and all else are not."""
    project = bake(process_manager="containers")
    first, *others = [
        line
        for line in (project / ".dockerignore").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert first == "*"
    assert all(line.startswith("!") for line in others)
    image = (project / "deploy/image/Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", image, re.MULTILINE)
    for source in " ".join(copied).split():
        assert any(f"!{source}".startswith(line.replace("*.whl", "")) for line in others), source


def test_the_image_is_made_without_a_network(bake: Bake) -> None:
    """No step of the build asks a package index, and each wheel must have the locked hash."""
    project = bake(process_manager="containers")
    image = (project / "deploy/image/Dockerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"pip/bin/pip .*?(?=&&|\n)", image)
    assert len(installs) == 2
    assert all("--no-index" in install for install in installs)
    assert "--require-hashes" in installs[0]
    assert "--no-deps" in installs[1]
    assert "--network none" in (project / "deploy/image/build").read_text()


def test_the_list_of_contents_is_cyclonedx(bake: Bake, tmp_path: Path) -> None:
    """It has the service, and each package of this environment with its version, once."""
    project = bake()
    package = tmp_path / "my_service-0.1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: my-service\nVersion: 0.1.0\n")
    program = project / "deploy/sbom"
    done = subprocess.run(
        [program, "my-service"],
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.6")
    assert listed["metadata"]["component"]["name"] == "my-service"
    names = [component["bom-ref"] for component in listed["components"]]
    assert len(names) == len(set(names))
    assert any(name.startswith("pkg:generic/python@3.") for name in names)
