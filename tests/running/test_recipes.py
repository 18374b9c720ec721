"""The instructions of docs/recipes.md work, word for word."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.bake import free_first_port
from tests.environment import environment
from tests.running.processes import Service
from tests.running.projects import Project

pytestmark = pytest.mark.full

# A sentence with the file's name in backticks, and the block that it announces; or commands.
STEP = re.compile(
    r"`((?:src|deploy|docs)/[^`]+)`[^`]*?:\n\n```\w+\n(.*?)```|:\n\n```\n(.*?)```", re.DOTALL
)
# Behind which line of a file that is there already the indented part of a block belongs. It takes
# the place of a line that begins as it does.
PLACES = {
    "routes.py": "ROUTES = [\n",
    "settings.py": '`make fix` adds new ones to `.env.example`.\n    """\n',
    "app.py": "    app.background.append(live.run)\n",
}


def follow(project: Project, recipes: str) -> None:
    """Do what the recipes say: write new files, add to those that are there, run the commands."""
    steps = STEP.findall(recipes)
    assert len(steps) == recipes.count("```") / 2
    for name, block, commands in steps:
        if commands:
            # Formatting first: what is added stands in no order yet.
            project.must("make", "fix")
            for command in commands.splitlines():
                project.must("sh", "-c", command)
            continue
        file = project.folder / name
        file.parent.mkdir(exist_ok=True)
        if file.suffix == ".po":
            file.write_text(translated(file, block), encoding="utf-8")
        elif file.exists():
            file.write_text(added(file, block), encoding="utf-8")
        else:
            file.write_text(block, encoding="utf-8")
    project.must("make", "fix")


def translated(file: Path, block: str) -> str:
    """The text of a catalogue with these translations in the places of empty ones."""
    text = file.read_text(encoding="utf-8")
    for entry in block.strip().split("\n\n"):
        empty = re.sub('(?m)^msgstr ".*"$', 'msgstr ""', entry)
        assert text.count(empty) == 1, f"{file} does not have once:\n{empty}"
        text = text.replace(empty, entry)
    return text


def added(file: Path, block: str) -> str:
    """The text of a file with a block added: imports to imports, the rest where it belongs."""
    text = file.read_text(encoding="utf-8")
    imports = "".join(line for line in block.splitlines(True) if re.match("from |import ", line))
    inside = "".join(line for line in block.splitlines(True) if line.startswith(" "))
    if imports:
        last = re.search(r"^(?:from (?:\.|\w+\.)|import )", text, re.MULTILINE)
        assert last, f"{file} imports nothing"
        text = text[: last.start()] + imports + text[last.start() :]
    if inside:
        place = PLACES[file.name]
        assert text.count(place) == 1
        at = text.index(place) + (len(place) if place.endswith("\n") else 0)
        text = text[:at] + inside + text[at:]
    return text


@pytest.fixture(scope="module")
def cooked(workshop: Path) -> Project:
    """A project in which every recipe has been followed."""
    project = Project.render(workshop / "cooked")
    project.set_up(packages=environment(project.folder).parent)
    follow(project, (project.folder / "docs" / "recipes.md").read_text(encoding="utf-8"))
    return project


@pytest.fixture(scope="module")
def service(cooked: Project) -> Iterator[Service]:
    with Service(cooked, free_first_port(1)) as running:
        yield running


def test_the_checks_find_nothing(cooked: Project) -> None:
    """Formatter, linter and type checker report nothing about the recipes' code."""
    cooked.must("make", "fix", "check")


def test_the_tests_stay_green(cooked: Project) -> None:
    """No recipe breaks a test of the project."""
    cooked.must("make", "test")


def test_the_page_works(service: Service) -> None:
    """The page answers, and shows its argument as text."""
    answer = httpx.get(f"{service.url}/about", params={"name": "<b>"}, trust_env=False)
    assert answer.status_code == 200
    assert "Made for &lt;b&gt;." in answer.text


def test_the_endpoint_works(service: Service) -> None:
    """The endpoint greets the signed-in user, and refuses without one."""
    with service.client() as client:
        assert client.get("/api/greeting").status_code == 401
        name, password = service.add_user()
        client.cookies = service.sign_in(name, password)
        assert client.get("/api/greeting").json() == {"greeting": f"Hello, {name}"}


def test_the_setting_works(cooked: Project) -> None:
    """The setting is read from the environment, and is in the example with its default."""
    assert "GREETING=Hello" in (cooked.folder / ".env.example").read_text(encoding="utf-8")
    script = f"from {cooked.package_name}.settings import load_settings as s; print(s().greeting)"
    python = cooked.program("python")
    assert cooked.must(python, "-c", script, GREETING="Servus").strip() == "Servus"


def test_the_table_is_created(cooked: Project) -> None:
    """Alembic's migration creates the table, and no difference remains."""
    script = (
        "import asyncio, sqlalchemy\n"
        f"from {cooked.package_name}.database import Database\n"
        f"from {cooked.package_name}.settings import load_settings\n"
        "async def names():\n"
        "    database = Database(load_settings().database_url)\n"
        "    async with database.engine.connect() as connection:\n"
        "        look = lambda c: sqlalchemy.inspect(c).get_table_names()\n"
        "        print(*await connection.run_sync(look))\n"
        "    await database.close()\n"
        "asyncio.run(names())\n"
    )
    assert "notes" in cooked.must(cooked.program("python"), "-c", script).split()


def test_the_task_runs(service: Service) -> None:
    """The task starts with the process."""
    service.wait_until(lambda: "Tidying up" in service.output, "the task has run")


def test_the_upload_works(service: Service) -> None:
    """The handler accepts one file and refuses two, or a large one; other pages refuse any."""
    with service.client() as client:
        client.cookies = service.sign_in(*service.add_user())
        client.get("/login")
        token = next(value for name, value in client.cookies.items() if name.endswith("xsrf"))

        def upload(path: str, *files: bytes) -> httpx.Response:
            sent = [("file", ("name.txt", content)) for content in files]
            return client.post(path, params={"_xsrf": token}, files=sent)

        assert upload("/upload", b"12345").text == "5 bytes"
        assert upload("/upload", b"1", b"2").status_code == 400
        assert upload("/upload", b"x" * 600_000).status_code == 413
        assert upload("/login", b"12345").status_code == 400


def test_the_language_works(cooked: Project, service: Service) -> None:
    """German browsers get German from templates and handlers; English ones get English."""
    folder = cooked.package / "locale"
    texts = (folder / "messages.pot").read_text(encoding="utf-8")
    for text in ("About", "Too many attempts. Try again in {minutes} minutes.", "1 second ago"):
        assert f'msgid "{text}"' in texts
    with service.client() as client:
        client.headers["Accept-Language"] = "de-AT,en;q=0.5"
        page = client.get("/login").text
        assert '<html lang="de">' in page
        assert "<h1>Anmelden</h1>" in page
        token = next(value for name, value in client.cookies.items() if name.endswith("xsrf"))
        form = {"name": "nobody", "password": "wrong", "_xsrf": token}
        assert "Name oder Passwort stimmt nicht." in client.post("/login", data=form).text
        client.headers["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.5"
        assert '<html lang="en">' in client.get("/login").text
