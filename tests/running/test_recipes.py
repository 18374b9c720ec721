"""What docs/recipes.md tells a developer to do is done, word for word, and works."""

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

# A sentence with the file's name in backticks, and the block that it announces.
STEP = re.compile(r"`((?:src|deploy|docs)/[^`]+)`[^`]*?:\n\n```\w+\n(.*?)```", re.DOTALL)
COMMANDS = re.compile(r":\n\n```\n(.*?)```", re.DOTALL)
# Behind which line of a file that is there already the indented part of a block belongs. It takes
# the place of a line that begins as it does.
PLACES = {
    "routes.py": "ROUTES = [\n",
    "settings.py": '`make fix` brings new ones to `.env.example`.\n    """\n',
    "app.py": "    app.background.append(live.run)\n",
}


def follow(project: Project, recipes: str) -> None:
    """Do what the recipes say: write new files, add to those that are there, run the commands."""
    steps = STEP.findall(recipes)
    assert len(steps) == recipes.count("```python") + recipes.count("```html")
    for name, block in steps:
        file = project.folder / name
        if file.exists():
            file.write_text(added(file, block), encoding="utf-8")
        else:
            file.write_text(block, encoding="utf-8")
    # Formatting first: what is added stands in no order yet.
    project.must("make", "fix")
    for block in COMMANDS.findall(recipes):
        for command in block.splitlines():
            project.must("sh", "-c", command)


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


def test_the_checks_are_content(cooked: Project) -> None:
    """Formatter, linter and type checker find nothing to say about what the recipes make."""
    cooked.must("make", "fix", "check")


def test_the_tests_stay_green(cooked: Project) -> None:
    """No recipe breaks a test of the project."""
    cooked.must("make", "test")


def test_the_page_is_there(service: Service) -> None:
    """The page answers, and shows what it was asked with as text."""
    answer = httpx.get(f"{service.url}/about", params={"name": "<b>"}, trust_env=False)
    assert answer.status_code == 200
    assert "Made for &lt;b&gt;." in answer.text


def test_the_endpoint_is_there(service: Service) -> None:
    """The endpoint greets who is signed in, and nobody else."""
    with service.client() as client:
        assert client.get("/api/greeting").status_code == 401
        name, password = service.add_user()
        client.cookies = service.sign_in(name, password)
        assert client.get("/api/greeting").json() == {"greeting": f"Hello, {name}"}


def test_the_setting_is_known(cooked: Project) -> None:
    """The setting is read from the environment, and stands in the example with its default."""
    assert "GREETING=Hello" in (cooked.folder / ".env.example").read_text(encoding="utf-8")
    script = f"from {cooked.package_name}.settings import load_settings as s; print(s().greeting)"
    python = cooked.program("python")
    assert cooked.must(python, "-c", script, GREETING="Servus").strip() == "Servus"


def test_the_table_is_made(cooked: Project) -> None:
    """The migration that Alembic writes makes the table, and no difference is left."""
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
    """The task begins with the process."""
    service.wait_until(lambda: "Tidying up" in service.output, "the task has run")


def test_the_upload_is_taken(service: Service) -> None:
    """The handler takes one file, refuses two and too large ones; all other pages refuse any."""
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
