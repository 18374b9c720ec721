"""The probes: liveness and readiness."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from << cookiecutter.__package_name >>.engine import make_database
from << cookiecutter.__package_name >>.migrations import migrate
from << cookiecutter.__package_name >>.runtime import health

from ..browser import Browser
from ..running import Site


async def test_liveness_ignores_the_database(open_site: Callable[..., Site], new_url: str) -> None:
    """A process is alive without its database, which a restart would not repair."""
    browser = open_site(database_url=new_url).browser()
    response = await browser.get("/healthz")
    assert response.code == 200
    assert json.loads(response.body) == {"status": "alive"}


async def test_ready_names_what_runs(open_site: Callable[..., Site], folder: Path) -> None:
    """A ready process says so, with its release, its commit and the digest of its lock."""
    (folder / "requirements.txt").write_text("tornado==1\n")
    response = await open_site(release="2025.1+abc").browser().get("/readyz")
    assert response.code == 200
    assert json.loads(response.body) == {
        "status": "ready",
        "release": "2025.1+abc",
        # git writes it into a release.
        "commit": "unknown",
        "lock": hashlib.sha256(b"tornado==1\n").hexdigest(),
    }


async def test_a_draining_process_is_not_ready(site: Site, browser: Browser) -> None:
    """A draining process still answers, and reports that it is not ready."""
    site.app.connections.draining = True
    response = await browser.get("/readyz")
    assert response.code == 503
    assert json.loads(response.body)["status"] == "draining"
    assert (await browser.get("/")).code == 200


async def test_ready_follows_the_database(open_site: Callable[..., Site], new_url: str) -> None:
    """Not ready, with the reason, without database or tables; ready again afterwards."""
    browser = open_site(database_url=new_url).browser()

    async def status() -> tuple[int, str]:
        response = await browser.get("/readyz")
        return response.code, json.loads(response.body)["status"]

    away = await status()
    make_database(new_url)
    empty = await status()
    for code, reason in (away, empty):
        assert code == 503
        assert reason.startswith("the database cannot be used: ")
    assert away != empty
    await migrate(new_url)
    assert await status() == (200, "ready")


<% if cookiecutter.database == "sqlite" %>
async def test_a_damaged_database_is_not_ready(
    folder: Path, open_site: Callable[..., Site]
) -> None:
    """Not ready, with the reason, when the file is not a database."""
    (folder / "damaged").write_bytes(b"this is no database" * 1000)
    response = await open_site(database_url="sqlite+aiosqlite:///damaged").browser().get("/readyz")
    assert response.code == 503
    assert "file is not a database" in json.loads(response.body)["status"]


<% endif %>
async def test_reason_and_release_are_hidden_behind_the_balancer(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Through the balancer it answers only ready or not; the log has the reason."""
    through_a_balancer = {"X-Real-IP": "198.51.100.7"}
    response = await browser.get("/readyz", headers=through_a_balancer)
    assert (response.code, json.loads(response.body)) == (200, {"status": "ready"})
    monkeypatch.setattr(health, "DATABASE_SECONDS", 0)
    response = await browser.get("/readyz", headers=through_a_balancer)
    assert (response.code, json.loads(response.body)) == (503, {"status": "not ready"})
    assert "the database does not answer" in caplog.text


async def test_readiness_has_a_time_limit(
    site: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The balancer gets an answer in time from a process whose database hangs."""
    monkeypatch.setattr(health, "DATABASE_SECONDS", 0)
    response = await browser.get("/readyz")
    assert response.code == 503
    assert json.loads(response.body)["status"] == "the database does not answer within 0 s"
