"""People sign in at a real provider, in a real browser, through a stack with single sign-on."""

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.bake import free_first_port
from tests.environment import CACHE, environment
from tests.running.processes import Stack, answers, wait_until
from tests.running.projects import Project, require

pytestmark = pytest.mark.full

HERE = Path(__file__).parent / "provider"
SETTINGS = """
OIDC_ISSUER={issuer}
OIDC_CLIENT_ID=a-service
OIDC_CLIENT_SECRET='a secret, with % and :'
OIDC_ALLOWED_DOMAINS=example.com
OIDC_ALLOWED_GROUPS=staff
"""


@pytest.fixture(scope="module")
def installed() -> Path:
    """The folder of the provider with what it needs, by its lock."""
    node, npm = require("node"), require("npm")
    lock = (HERE / "package-lock.json").read_bytes()
    folder = CACHE / "provider" / hashlib.sha256(lock).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    for file in HERE.iterdir():
        shutil.copy(file, folder)
    if not (folder / "ready").exists():
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=folder, check=True, env=os.environ | {"NODE": node})
        (folder / "ready").touch()
    return folder


class Provider:
    """The provider, which can end and come back with another key."""

    def __init__(self, folder: Path, service: str) -> None:
        self.port = free_first_port(1)
        self.issuer = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._service = service
        self._keys = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._keys += 1
        command = ["node", "provider.mjs", str(self.port), self._service, f"key {self._keys}"]
        self._process = subprocess.Popen(
            command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        url = f"{self.issuer}/.well-known/openid-configuration"
        wait_until(lambda: answers(url), "the provider answers", evidence=str)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(20)
            self._process = None


@pytest.fixture(scope="module")
def project(workshop: Path) -> Project:
    project = Project.render(workshop / "single-sign-on", sign_in="sso", process_count="2")
    project.set_up(packages=environment(project.folder).parent)
    return project


@pytest.fixture(scope="module")
def provider(installed: Path, project: Project) -> Iterator[Provider]:
    provider = Provider(installed, f"http://localhost:{project.balancer_port}")
    with (project.folder / ".env").open("a") as env:
        env.write(SETTINGS.format(issuer=provider.issuer))
    provider.start()
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def stack(project: Project, provider: Provider) -> Iterator[Stack]:
    require("nginx")
    with Stack(project) as running:
        yield running


@pytest.fixture
def page(chromium: Browser, stack: Stack) -> Iterator[Page]:
    """A new browser window, in which no page of the service may break its own policy."""
    context = chromium.new_context(base_url=stack.url)
    context.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)
    complaints: list[str] = []
    context.on("console", lambda message: complaints.append(message.text))
    page = context.new_page()
    yield page
    context.close()
    assert not [text for text in complaints if "Content Security Policy" in text]


def sign_in(page: Page, name: str, path: str = "/account") -> None:
    """Ask for a page that needs a session; sign in at the provider's own pages."""
    page.goto(path)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("any")
    page.locator("button[type=submit]").click()
    page.get_by_role("button", name="Continue").click()


def test_the_tests_of_signing_in_are_green(project: Project) -> None:
    """The project's own tests, with a provider that lies; all of them run on the newest Python."""
    python = project.program("python")
    tests = ("tests/accounts", "tests/handlers/test_single_sign_on.py")
    project.must(python, "-m", "pytest", "-q", "-n", "2", *tests)


def test_a_visit_by_way_of_the_provider(page: Page, stack: Stack, provider: Provider) -> None:
    """In at the provider, back to the page that was asked for; out here, and out there."""
    sign_in(page, "ada", "/account?page=1")
    expect(page.get_by_role("heading", name="Account")).to_be_visible()
    assert page.url == f"{stack.url}/account?page=1"
    expect(page.get_by_role("main")).to_contain_text("signed in as ada of the provider")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Yes, sign me out").click()
    expect(page.get_by_role("main").get_by_role("link", name="Sign in")).to_be_visible()
    assert page.url == f"{stack.url}/"
    page.goto("/login")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.locator("input[name=login]")).to_be_visible()


def test_who_is_not_on_the_list_stays_outside(page: Page, stack: Stack) -> None:
    """The provider's word on groups counts, which it gives in its userinfo."""
    sign_in(page, "eve")
    expect(page.get_by_role("alert")).to_contain_text("may not use this service")
    assert page.goto("/api/me").status == 401


def test_the_provider_may_change_its_keys(page: Page, provider: Provider) -> None:
    """The next sign-in finds the new key; no process restarts."""
    provider.stop()
    provider.start()
    sign_in(page, "bob")
    expect(page.get_by_role("main")).to_contain_text("signed in as bob of the provider")


def test_those_signed_in_work_on_without_the_provider(
    page: Page, chromium: Browser, stack: Stack, provider: Provider
) -> None:
    """The page to sign in says that the provider is away; processes start without it."""
    sign_in(page, "cyd")
    expect(page.get_by_role("heading", name="Account")).to_be_visible()
    provider.stop()
    stack.stop_workers()
    stack.start_workers()
    assert page.goto("/account").status == 200
    with contextlib.closing(chromium.new_context(base_url=stack.url)) as another:
        outside = another.new_page()
        outside.goto("/login?next=/account")
        with outside.expect_response("**/login") as answer:
            outside.get_by_role("main").get_by_role("button", name="Sign in").click()
        assert answer.value.status == 503
        expect(outside.get_by_role("alert")).to_contain_text("The sign-in provider does not answer")
        provider.start()
        outside.get_by_role("main").get_by_role("button", name="Sign in").click()
        expect(outside.locator("input[name=login]")).to_be_visible()
