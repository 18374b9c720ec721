"""Monitoring: a real Prometheus scrapes a real stack, and no query of the dashboard is empty."""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.running.processes import Stack, wait_until
from tests.running.projects import Project, require

pytestmark = pytest.mark.full

MONITORING = Path("deploy", "monitoring")


@pytest.fixture(scope="module")
def stack(default_project: Project) -> Iterator[Stack]:
    with Stack(default_project) as running:
        yield running


@pytest.fixture
def prometheus(stack: Stack, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client for a Prometheus that scrapes the stack as the project says, but each second."""
    folder = stack.project.folder / MONITORING
    config = (folder / "prometheus.yml").read_text(encoding="utf-8")
    assert "scrape_interval: 15s" in config
    config = config.replace(
        "scrape_interval: 15s", "scrape_interval: 1s\n  evaluation_interval: 1s"
    )
    file = tmp_path / "prometheus.yml"
    file.write_text(config.replace("- rules.yml", f"- {folder / 'rules.yml'}"), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(require("prometheus"), f"--config.file={file}"),
                *(
                    f"--web.listen-address=127.0.0.1:{port}",
                    f"--storage.tsdb.path={tmp_path / 'db'}",
                ),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

            def ready() -> bool:
                try:
                    return client.get("/-/ready").status_code == 200
                except httpx.TransportError:
                    return False

            wait_until(ready, "Prometheus is ready", evidence=(tmp_path / "log").read_text)
            yield client
    finally:
        process.terminate()
        process.wait()


def use(stack: Stack) -> None:
    """Do what each panel shows something of."""
    name, password = stack.add_user()
    stack.sign_in(name, password)
    with stack.client() as client:
        for path in ("/", "/login", "/api/me", "/nothing"):
            client.get(path)


def test_each_query_of_the_dashboard_has_an_answer(stack: Stack, prometheus: httpx.Client) -> None:
    """No panel is empty, and no alert fires, while a healthy stack is used."""
    text = (stack.project.folder / MONITORING / "dashboard.json").read_text(encoding="utf-8")
    panels = json.loads(text)["panels"]
    queries = {
        f"{panel['title']}: {target['expr']}" for panel in panels for target in panel["targets"]
    }
    assert len(queries) > 20

    def empty() -> list[str]:
        use(stack)
        found = []
        for query in sorted(queries):
            expression = query.partition(": ")[2].replace("$__rate_interval", "1m")
            answer = prometheus.get("/api/v1/query", params={"query": expression}).json()
            assert answer["status"] == "success", (query, answer)
            values = [result["value"][1] for result in answer["data"]["result"]]
            # A route that nobody asks for has no duration.
            if not set(values) - {"NaN"}:
                found.append(query)
        return found

    wait_until(
        lambda: not empty(),
        "answers to all queries",
        seconds=60,
        evidence=lambda: "\n".join(empty()),
    )
    alerts = prometheus.get("/api/v1/alerts").json()["data"]["alerts"]
    assert [alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"] == []
    targets = prometheus.get("/api/v1/targets").json()["data"]["activeTargets"]
    assert len(targets) == len(stack.project.worker_ports)


@pytest.mark.parametrize("project_name", ["default_project", "nasty_project"])
def test_each_alert_fires_where_it_should(
    project_name: str, request: pytest.FixtureRequest
) -> None:
    """promtool reads configuration and rules, and the project's own tests of the rules pass."""
    project: Project = request.getfixturevalue(project_name)
    promtool = require("promtool")
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "rules_test.yml"]):
        done = subprocess.run(
            [promtool, *command],
            cwd=project.folder / MONITORING,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
