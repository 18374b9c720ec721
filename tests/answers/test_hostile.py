"""Allowed free text arrives unchanged in every file that contains it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.answers.texts import machine_texts_of, texts_of
from tests.bake import QUESTIONS, TEMPLATE, bake

HOSTILE = [
    'He said "yes"',
    "It's",
    "'''",
    '"""',
    "back\\slash \\n \\u0041 \\",
    "100% %(here)s %d %%",
    "$HOME ${HOME} $$ $(id) `id`",
    "{0} {name} {{ 1 + 1 }} {% raw %} {# not a comment #}",
    "${{ secrets.X }}",
    "a < b > c &lt; &amp; <b>bold</b> <!-- -->",
    "</title><script>alert(1)</script>",
    "# heading #",
    "#",
    "a #% b",
    "## ##",
    "- item",
    "+ item",
    "1. first",
    "1) first",
    "> quoted",
    "*emphasis* _underline_ **bold** ~~gone~~ `code`",
    "[a](http://b.c) ![i](x) [x]: y <http://b.c>",
    "http://example.com www.example.com",
    "snake_case_name __init__",
    "| a | b |",
    "===",
    "---",
    "a  b\u00a0c",
    "semi; colon: = value, [section] ; # comment",
    "None",
    "~",
    "*",
    "Мой сервис",
    "我的服务",
    "שירות של 3 אנשים",
    "خدمة",
    "👩‍💻 émoji ñ ﬀ 𝒳",
    "e\u0301 \u200d\u200b zero width",
    "n" * 60,
    "\\" * 60,
    '"' * 60,
    "\U0001f469" * 60,
]


# Each is allowed before the @ of an address, and is more than text to one of its readers.
MAILBOXES = [
    "{{7*7}}",
    "{%raw%}",
    "{#x#}",
    "o'brien",
    "$HOME",
    "${HOME}",
    "`id`",
    "%s%%",
    "_a_*b*~~c~~",
    "a|b",
    "!x",
    "&amp",
    "#x",
    "-rf",
    "*",
    "a&b",
    "first.last+tag",
]
# To YAML each of these is something else than its letters.
WORDS = ["null", "true", "yes", "on", "off"]
NUMBERS = ["1.10", "1e3", "0", "010"]


def same_texts(project: Path, text: str) -> None:
    """Assert that every place for free text contains exactly this one."""
    asked = ("project_name", "description", "author_name")
    assert texts_of(project) == {name: {text} for name in asked}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:24]))
def test_free_text_arrives_exactly(text: str, bake: Callable[..., Path]) -> None:
    """TOML, Python and Markdown parsers read the given text from the project."""
    project = bake(project_name=text, description=text, author_name=text, project_slug="my-service")
    same_texts(project, text)


@pytest.mark.parametrize("text", ["{{ 1 + 1 }} 'a' \"b\" \\n", "a #% b < c"])
def test_typed_text_arrives_exactly(
    text: str, terminal: Callable[..., object], tmp_path: Path
) -> None:
    """Text typed at the questions arrives like text from the command line."""
    typed = "\n".join([text, "my-service", text, text, *[""] * (len(QUESTIONS) - 4), ""])
    said = terminal(TEMPLATE, "-o", tmp_path / "out", input=typed)
    assert said.returncode == 0, said.stderr
    same_texts(tmp_path / "out" / "my-service", text)


@pytest.mark.parametrize("mailbox", MAILBOXES)
def test_an_address_arrives_exactly(mailbox: str, bake: Callable[..., Path]) -> None:
    """TOML, Markdown and Ansible read the given address."""
    email = f"{mailbox}@example.com"
    assert machine_texts_of(bake(author_email=email))["author_email"] == {email}


@pytest.mark.parametrize(
    ("slug", "domain"), [*((word, word) for word in WORDS), *(("a", number) for number in NUMBERS)]
)
def test_names_arrive_exactly(slug: str, domain: str, bake: Callable[..., Path]) -> None:
    """A name stays a name where YAML could read a number or a truth value."""
    texts = machine_texts_of(bake(project_slug=slug, domain_name=domain))
    assert (texts["project_slug"], texts["domain_name"]) == ({slug}, {domain})


def test_only_three_files_hold_free_text(tmp_path: Path) -> None:
    """Only three files contain the name or the description, and the link, as JSON."""
    text = "Unmistakable 7f3a"
    project = bake(
        tmp_path, project_name=text, description=text, author_name=text, project_slug="my-service"
    )
    holders = {
        str(path.relative_to(project))
        for path in project.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    }
    three = {"README.md", "pyproject.toml", "src/my_service/__init__.py"}
    assert holders - {".cruft.json"} == three
