"""The fixtures of the tests.

nowhere      (always) an empty folder to work in, and none of your own settings
databases    creates and deletes databases
new_url      the URL of a database that does not exist yet
folder       that folder with an `.env`, and a database with the users ada and bob
#% if cookiecutter.sign_in == "passwords"
cheap        hashing parameters so cheap that no test waits; most of these fixtures include it
#% else
provider     the OpenID provider of that `.env`; a test may change what it says
#% endif
database     the database of the folder
accounts     the accounts in it
open_site    open_site(release="2", ...): the service in this process, with these settings
site         the service in this process, with the settings of the folder
browser      a browser for that site; `site.browser()` is another one
start        await start("--fork", "2", PORT="1", ...): the service in a process of its own
receiver     receives what the service sends out by HTTP
logs         logs(): the lines logged so far, in the format of production
"""

import asyncio
#% if cookiecutter.sign_in == "passwords"
import functools
#% endif
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
#% if cookiecutter.sign_in == "passwords"
from argon2 import PasswordHasher
#% endif
from tornado.httpclient import AsyncHTTPClient
from tornado.testing import bind_unused_port

import << cookiecutter.__package_name >> as service
#% if cookiecutter.sign_in == "passwords"
from << cookiecutter.__package_name >>.accounts import Accounts, Client, passwords
#% else
from << cookiecutter.__package_name >>.accounts import Accounts, AllowList, Identity
from << cookiecutter.__package_name >>.accounts.users import Users
#% endif
from << cookiecutter.__package_name >>.app import make_app
from << cookiecutter.__package_name >>.database import Database
from << cookiecutter.__package_name >>.migrations import migrate
<% if cookiecutter.__containers %>
from << cookiecutter.__package_name >>.runtime import settings as process_settings
<% endif %>
from << cookiecutter.__package_name >>.runtime.logs import JsonFormatter
from << cookiecutter.__package_name >>.runtime.server import Server
from << cookiecutter.__package_name >>.settings import Settings, load_settings

#% if cookiecutter.sign_in == "passwords"
from .browser import PASSWORD, Browser
#% else
from .browser import Browser
#% endif
from .databases import Databases
#% if cookiecutter.sign_in == "sso"
from .provider import CLIENT_ID, CLIENT_SECRET, Provider, providing
#% endif
from .receiver import Receiver, receiving
from .running import Process, Site, free_port

SECRET = "1:for-tests-only-0123456789-abcdefghijklmnop"
<% if cookiecutter.sign_in == "passwords" %>
CHEAP = functools.partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
<% else %>
EVERYBODY = AllowList(frozenset("*"))
<% endif %>


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
<% if cookiecutter.__containers %>
    # The tests may run in a container themselves.
    monkeypatch.delenv("container", raising=False)
    monkeypatch.setattr(process_settings, "SECRETS", tmp_path / "secrets")
<% endif %>
    return tmp_path


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
<% if cookiecutter.database == "sqlite" %>
    databases = Databases()
<% else %>
    try:
        databases = Databases()
    except LookupError as missing:
        pytest.exit(str(missing), returncode=1)
<% endif %>
    yield databases
    databases.close()


@pytest.fixture
def new_url(databases: Databases) -> Iterator[str]:
    url = databases.new_url()
    yield url
    databases.drop(url)


<% if cookiecutter.sign_in == "sso" %>
@pytest.fixture(scope="session")
def any_provider() -> Iterator[Provider]:
    with providing() as provider:
        yield provider


@pytest.fixture(scope="session")
def issuer(any_provider: Provider) -> str:
    return any_provider.issuer


@pytest.fixture
def provider(any_provider: Provider) -> Iterator[Provider]:
    yield any_provider
    # As it was, for the next test.
    any_provider.__dict__.update(Provider(any_provider.issuer).__dict__)


<% endif %>
@pytest.fixture(scope="session")
def migrated(databases: Databases<< ", issuer: str" if cookiecutter.sign_in == "sso" >>) -> str:
    """The URL of the database that `folder` copies, migrated once."""
    url = databases.new_url()

    async def make() -> None:
        await migrate(url)
        database = Database(url)
#% if cookiecutter.sign_in == "passwords"
        accounts = Accounts(database)
        for name in ("ada", "bob"):
            await accounts.add_user(name, PASSWORD, Client("test"))
        accounts.close()
        await database.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "PasswordHasher", CHEAP)
        asyncio.run(make())
#% else
        for name in ("ada", "bob"):
            await Users(database).ensure(Identity(issuer, name, name))
        await database.close()

    asyncio.run(make())
#% endif
    return url


@pytest.fixture
#% if cookiecutter.sign_in == "passwords"
def folder(nowhere: Path, databases: Databases, migrated: str) -> Iterator[Path]:
#% else
def folder(nowhere: Path, databases: Databases, migrated: str, issuer: str) -> Iterator[Path]:
#% endif
    url = databases.copy(migrated)
#% if cookiecutter.sign_in == "passwords"
    (nowhere / ".env").write_text(f"COOKIE_SECRET={SECRET}\nDATABASE_URL={url}\n")
#% else
    (nowhere / ".env").write_text(
        f"COOKIE_SECRET={SECRET}\nDATABASE_URL={url}\nOIDC_ISSUER={issuer}\n"
        f"OIDC_CLIENT_ID='{CLIENT_ID}'\nOIDC_CLIENT_SECRET='{CLIENT_SECRET}'\n"
        "OIDC_ALLOWED_DOMAINS=*\n"
    )
#% endif
    yield nowhere
    databases.drop(url)


<% if cookiecutter.sign_in == "passwords" %>
@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "PasswordHasher", CHEAP)


<% endif %>
@pytest.fixture
async def database(folder: Path) -> AsyncIterator[Database]:
    database = Database(load_settings().database_url)
    yield database
    await database.close()


<% if cookiecutter.sign_in == "passwords" %>
@pytest.fixture
async def accounts(database: Database, cheap: None) -> AsyncIterator[Accounts]:
    accounts = Accounts(database)
    yield accounts
    accounts.close()
<% else %>
@pytest.fixture
def accounts(database: Database) -> Accounts:
    return Accounts(database, EVERYBODY)
<% endif %>


@pytest.fixture
async def client() -> AsyncIterator[AsyncHTTPClient]:
    """The HTTP client of the browsers."""
    client = AsyncHTTPClient(force_instance=True, defaults={"request_timeout": 20})
    yield client
    client.close()


@pytest.fixture
#% if cookiecutter.sign_in == "passwords"
async def open_site(
    folder: Path, cheap: None, client: AsyncHTTPClient
) -> AsyncIterator[Callable[..., Site]]:
#% else
async def open_site(folder: Path, client: AsyncHTTPClient) -> AsyncIterator[Callable[..., Site]]:
#% endif
    sites: list[Site] = []

    def open_site(**overrides: Any) -> Site:
        listening, port = bind_unused_port()
        settings = load_settings(port=port, **overrides)
        app = make_app(settings, Database(settings.database_url<< ', settings.database_connections' if cookiecutter.database == 'postgresql' >>))
        server = Server.of(app, behind_proxy=settings.behind_proxy)
        server.add_socket(listening)
        sites.append(Site(settings, app, server, [listening], f"http://127.0.0.1:{port}", client))
        return sites[-1]

    yield open_site
    for site in sites:
        site.app.websockets.close()
        site.server.stop()
        await site.server.close_all_connections()
#% if cookiecutter.sign_in == "passwords"
        site.app.settings["accounts"].close()
#% endif
        await site.app.settings["database"].close()


@pytest.fixture
def site(open_site: Callable[..., Site]) -> Site:
    return open_site()


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.browser()


@pytest.fixture
async def start(
    folder: Path, client: AsyncHTTPClient
) -> AsyncIterator[Callable[..., Awaitable[Process]]]:
    processes: list[Process] = []

    async def start(
        *arguments: str, program: Sequence[str] = ("-m", service.__name__), **environment: str
    ) -> Process:
        port = int(environment.setdefault("PORT", str(free_port())))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *program, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | environment,
            start_new_session=True,
        )
        processes.append(Process(process, port, client))
        return processes[-1]

    yield start
    for process in processes:
        await process.kill()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def logs(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[str]]]:
    lines: list[str] = []

    def logs() -> list[str]:
        lines.extend(capsys.readouterr().out.splitlines())
        return lines

    class Printing(logging.Handler):
        """Writes to the current `sys.stdout`, as pytest replaces it between fixture and test."""

        def emit(self, record: logging.LogRecord) -> None:
            print(self.format(record))

    handler = Printing()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield logs
    root.setLevel(level)
    root.removeHandler(handler)
