"""Answers that give no project."""

import ast
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException, OutputDirExistsException

from tests.bake import CHOICES, OF_A_FORK, QUESTIONS, TEMPLATE, bake, files_of

BAD = [
    ("project_name", " ", "is empty; allowed are 1 to 60"),
    ("project_name", "n" * 61, "has 61 characters; allowed are 1 to 60"),
    ("project_name", " My Service", "begins or ends with a space"),
    ("project_name", "My\nService", "a control character (U+000A)"),
    ("project_name", "My\0Service", "a control character (U+0000)"),
    ("project_name", "My\x7fService", "a control character (U+007F)"),
    ("project_name", "My\u0085Service", "a control character (U+0085)"),
    ("project_name", "My\u2028Service", "a line break (U+2028)"),
    ("project_name", "My\u2029Service", "a paragraph break (U+2029)"),
    ("project_name", "My \udcff Service", "half a character (U+DCFF)"),
    ("project_name", "My \u202eecivreS", "reverses the text around it (U+202E)"),
    ("project_name", "My \u2066Service", "reverses the text around it (U+2066)"),
    ("description", "", "is empty; allowed are 1 to 200"),
    ("description", "d" * 201, "has 201 characters; allowed are 1 to 200"),
    ("description", "one\ntwo", "allowed is one line"),
    ("author_name", "\t", "a control character (U+0009)"),
    ("author_name", "a" * 101, "has 101 characters; allowed are 1 to 100"),
    *(
        ("author_email", email, "allowed is an address like name@example.com")
        for email in ("", "me", "me@", "@example.com", "me@exa mple.com", "a b@example.com")
    ),
    ("author_email", "me@example.com\n", "a control character"),
    ("author_email", "<me@example.com>", "allowed is an address"),
    ("author_email", '"me"@example.com', "allowed is an address"),
    ("author_email", "é@example.com", "allowed is an address"),
    *(
        ("domain_name", domain, "allowed is a host name in lower case")
        for domain in (
            "",
            ".",
            "example.",
            ".example",
            "a..b",
            "-a.com",
            "a-.com",
            "Example.com",
            "http://example.com",
            "example.com:80",
            "example.com/a",
            "exa mple.com",
            "a_b.com",
            "a;b",
            "$host",
            "*.example.com",
            "münchen.de",
            "a" * 64 + ".com",
            ".".join(["a" * 63] * 4),
        )
    ),
    *(
        ("project_slug", slug, "words joined by single hyphens, a letter first")
        for slug in (
            "My-Service",
            "my_service",
            "my service",
            "my--service",
            "-service",
            "service-",
            "2service",
            "sérvice",
            "my.service",
            "$(id)",
            "s" * 33,
        )
    ),
    ("project_slug", "my-service\n", "a control character (U+000A)"),
    *(
        ("project_slug", name, "in use on Debian servers")
        for name in ("nginx", "www-data", "certs", "ssh")
    ),
    *(("project_slug", word, "a word of Python's own") for word in ("class", "async", "lambda")),
    *(
        ("project_slug", module, "a module of Python's standard library")
        for module in ("logging", "http", "site", "concurrent", "cgi", "compression")
    ),
    *(
        ("project_slug", taken, "what the service itself uses")
        for taken in ("tornado", "sqlalchemy", "pydantic-settings", "argon2", "argon2-cffi")
    ),
    *(
        ("project_slug", taken, "what the service itself uses")
        for taken in ("test", "tests", "src", "pip", "python", "ruff", "supervisord", "balancer")
    ),
    *(
        ("first_port", port, "allowed is a number from 1024 to 65535")
        for port in (
            "0",
            "80",
            "1023",
            "65536",
            "-1",
            "8e3",
            "08000",
            "８０００",
            "",
            "x",
            "9" * 5000,
        )
    ),
    ("first_port", "65093", "puts https on port 65536; allowed are ports up to 65535"),
    *(
        ("process_count", count, "allowed is a number from 1 to 64")
        for count in ("0", "65", "-4", "4.0", "04", "four", "", "٤", "9" * 5000)
    ),
]


@pytest.fixture
def refusal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """refusal(**answers): returns the refusal of these answers, which must leave no file."""

    def refuse(**answers: str) -> str:
        with pytest.raises(FailedHookException):
            bake(tmp_path, **answers)
        assert list(tmp_path.iterdir()) == []
        return capfd.readouterr().err

    return refuse


@pytest.mark.parametrize(
    ("name", "answer", "says"), BAD, ids=[f"{name}-{answer[:24]!a}" for name, answer, _ in BAD]
)
def test_a_bad_answer_is_refused(
    name: str, answer: str, says: str, refusal: Callable[..., str]
) -> None:
    """A bad answer stops the generation; the error has its name, the fault and the rule."""
    slug = {} if name == "project_slug" else {"project_slug": "my-service"}
    said = refusal(**{name: answer}, **slug)
    *lines, again = [line for line in said.splitlines() if line.startswith("  ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"  {name} ")
    assert says in lines[0]
    assert lines[0].isprintable()
    assert again.isprintable()
    assert again.endswith(f" '{name}=?'")


def test_all_bad_answers_are_reported_together(refusal: Callable[..., str]) -> None:
    """Several bad answers are reported together, in the order of the questions."""
    said = refusal(
        project_name="\t",
        project_slug="tornado",
        description="\u2028",
        author_name=" ",
        author_email="nobody",
        domain_name="no domain",
        first_port="80",
        process_count="0",
    )
    named = re.findall(r"^  (\w+) ", said, flags=re.MULTILINE)
    texts = [name for name in QUESTIONS if name not in CHOICES and name not in OF_A_FORK]
    assert named == [*texts, "cookiecutter"]


def test_a_refusal_keeps_the_other_answers(
    terminal: Callable[..., object], tmp_path: Path, refusal: Callable[..., str]
) -> None:
    """The refusal's last line repeats all other answers; completed, it makes the project."""
    kept = {"project_name": "It's $HOME", "description": '50% "off" & more', "ci": "none"}
    said = refusal(**kept, project_slug="mine", author_email="nobody", domain_name="no domain")
    again = shlex.split(said.splitlines()[-1])
    assert again[:3] == ["cookiecutter", "--no-input", str(TEMPLATE)]
    assert again[-2:] == ["author_email=?", "domain_name=?"]
    assert {f"{name}={answer}" for name, answer in kept.items()} <= set(again)

    unfilled = terminal(*again[1:], "-o", tmp_path)
    assert re.findall(r"^  (\w+) is", unfilled.stderr, re.MULTILINE) == [
        "author_email",
        "domain_name",
    ]
    filled = [*again[1:-2], "author_email=me@example.com", "domain_name=example.org"]
    assert terminal(*filled, "-o", tmp_path).returncode == 0
    assert (tmp_path / "mine" / "Makefile").exists()


def test_a_name_that_gives_no_slug_is_refused(
    terminal: Callable[..., object], tmp_path: Path
) -> None:
    """A name that gives no slug is refused, and the folder around it stays."""
    out = tmp_path / "out"
    said = terminal(TEMPLATE, "--no-input", "project_name=👩‍💻", "-o", out)
    assert said.returncode == 1
    assert "project_slug is '?'; allowed are" in said.stderr
    assert not list(tmp_path.glob("out/*"))

    (out / "mine").mkdir(parents=True)
    said = terminal(TEMPLATE, "--no-input", "project_name=👩‍💻", "-o", out)
    assert said.returncode == 1
    assert "project_slug is '?'; allowed are" in said.stderr
    assert [path.name for path in out.iterdir()] == ["mine"]


def test_an_unknown_choice_is_refused(tmp_path: Path) -> None:
    """A choice that does not exist stops the generation; the error names the choices."""
    with pytest.raises(ValueError, match=r"\['nginx', 'haproxy'\]"):
        bake(tmp_path, load_balancer="apache")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", ["a << b", "a <% b", "a <# b", "#% a", "<< 1 + 1 >>"])
def test_template_syntax_is_refused(
    answer: str, terminal: Callable[..., object], tmp_path: Path
) -> None:
    """Text that cookiecutter or cruft would execute later is refused when it is typed."""
    typed = "\n".join([answer, "my-service", *[""] * (len(QUESTIONS) - 2), ""])
    said = terminal(TEMPLATE, "-o", tmp_path / "out", input=typed)
    assert said.returncode == 1
    assert "project_name contains " in said.stderr
    assert not list(tmp_path.glob("out/*"))


def test_an_existing_project_is_not_changed(tmp_path: Path) -> None:
    """Generating into an existing folder is refused by default, and changes nothing."""
    project = bake(tmp_path)
    before = files_of(project)
    with pytest.raises(OutputDirExistsException, match="already exists"):
        bake(tmp_path, description="Another")
    assert files_of(project) == before


def test_a_refusal_changes_no_existing_project(tmp_path: Path) -> None:
    """Bad answers for an existing project change nothing in it."""
    project = bake(tmp_path)
    before = files_of(project)
    with pytest.raises(FailedHookException):
        bake(tmp_path, again=True, process_count="0")
    assert files_of(project) == before


@pytest.mark.parametrize("hook", ["pre_gen_project.py", "post_gen_project.py"])
def test_hooks_need_only_an_old_python(hook: str) -> None:
    """Hooks run on Python 3.9 and import only what cookiecutter itself needs."""
    source = (TEMPLATE / "hooks" / hook).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 9))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {getattr(node, "module", None) or node.names[0].name for node in imported}
    assert modules
    assert modules <= sys.stdlib_module_names | {"jinja2"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("__drain_seconds", "20\nUser=root"), ("__last_port", "8004"), ("__package_name", "os")],
)
def test_a_given_derived_value_is_refused(
    name: str, value: str, terminal: Callable[..., object], tmp_path: Path
) -> None:
    """Derived values are not validated, so they come from the answers alone."""
    made = terminal(TEMPLATE, "--no-input", f"{name}={value}", "-o", tmp_path / "out")
    assert made.returncode != 0
    assert f"  {name} does not match the answers; leave it out" in made.stderr
    assert not (tmp_path / "out" / "my-service").exists()


@pytest.mark.parametrize("unknown", ["projectname", "__drain_seconds", "_template"])
def test_bake_refuses_unknown_answers(unknown: str, tmp_path: Path) -> None:
    """A misspelt or private answer fails its test, with the list of questions."""
    with pytest.raises(TypeError, match=rf"not asked: {unknown}; asked: project_name, "):
        bake(tmp_path, **{unknown: "x"})
