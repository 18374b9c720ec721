"""Any answer is refused with a reason, or arrives exactly, and is never executed."""

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.environment import StrictEnvironment
from cookiecutter.exceptions import CookiecutterException
from cookiecutter.prompt import render_variable
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.answers.test_hostile import HOSTILE
from tests.answers.texts import machine_texts_of, texts_of
from tests.bake import CHOICES, CONTEXT, QUESTIONS, TEMPLATE, bake, files_of
from tests.rendered.test_files import parser_of

# `make soak` tries more examples; elsewhere they are the same each time.
SOAK = bool(os.environ.get("SOAK"))
FREE = ("project_name", "description", "author_name")
PROJECT = TEMPLATE / "<<cookiecutter.project_slug>>"
HOLDERS = ("pyproject.toml", "README.md", "src/<<cookiecutter.__package_name>>/__init__.py")

CANARY = "canary-4d1e"
# Each creates a file of that name if its reader executes it.
EXECUTABLE = [
    f"$(touch {CANARY})",
    f"`touch {CANARY}`",
    f"; touch {CANARY} #",
    f"' + open('{CANARY}', 'w').name + '",
    f"'''); open('{CANARY}', 'w') #",
    f'"; open("{CANARY}", "w"); "',
    f"{{{{ open('{CANARY}', 'w') }}}}",
    f"{{% import os %}}{{{{ os.system('touch {CANARY}') }}}}",
    f"<< cycler.__init__.__globals__.os.popen('touch {CANARY}').read() >>",
    f"$(shell touch {CANARY})",
    f"%(touch {CANARY})s",
]
MARKS = "\"'\\`$#%{}<>()[]|&;:=,.*_~^!?@+-/ \t\n\0\u00a0\u2028\u202e\u0301\ud800aZ0９é我👩"
TEXTS = st.one_of(
    st.text(max_size=70),
    st.text(alphabet=MARKS, max_size=70),
    st.lists(st.sampled_from([*HOSTILE, *EXECUTABLE]), max_size=3).map("".join),
    st.sampled_from([*HOSTILE, *EXECUTABLE]),
)
# For questions with few valid answers: mostly a valid one, else any text.
NARROW = {
    "project_slug": st.from_regex(r"[a-z][a-z0-9]{0,9}(-[a-z0-9]{1,9}){0,2}", fullmatch=True),
    "author_email": st.emails(),
    "domain_name": st.from_regex(r"[a-z0-9]{1,20}(\.[a-z0-9-]{1,20}){0,3}", fullmatch=True),
    "first_port": st.integers(0, 70_000).map(str),
    "process_count": st.integers(0, 70).map(str),
}
ALL_TEXTS = st.fixed_dictionaries(dict.fromkeys(FREE, TEXTS))
# Cookiecutter runs these before it runs a hook, if they come as answers of a command line: that is
# its own doing. The other test shows that the hook refuses those that are typed.
UNMARKED = TEXTS.filter(lambda text: not re.search(r"<[%#<]|^\s*#%", text, re.MULTILINE))
EVERYTHING = st.fixed_dictionaries(
    dict.fromkeys(FREE, UNMARKED)
    | {name: st.one_of(fits, fits, fits, UNMARKED) for name, fits in NARROW.items()}
    | {name: st.sampled_from(options) for name, options in CHOICES.items()}
)


def examples(count: int, soak: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=soak if SOAK else count,
        derandomize=not SOAK,
        database=None,
        deadline=None,
        # A failure is not minimized: that takes hundreds of renders.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def render() -> Callable[[str, dict[str, Any]], str]:
    """render(path, context): a file of the template as cookiecutter renders it, compiled once."""
    environment = StrictEnvironment(
        context={"cookiecutter": CONTEXT}, keep_trailing_newline=True, **CONTEXT["_jinja2_env_vars"]
    )
    compiled = {
        name: environment.from_string((TEMPLATE / name).read_text(encoding="utf-8"))
        for name in (
            "hooks/pre_gen_project.py",
            *(f"{PROJECT.name}/{holder}" for holder in HOLDERS),
        )
    }

    def rendered(name: str, context: dict[str, Any]) -> str:
        return compiled[name].render(cookiecutter=context)

    rendered.environment = environment
    return rendered


def context_of(environment: StrictEnvironment, answers: dict[str, str]) -> dict[str, Any]:
    """Return cookiecutter's context for these answers: with defaults and derived values."""
    context: dict[str, Any] = {"_template": "gh:org/tornado-deploy"}
    for name, default in CONTEXT.items():
        if name in answers:
            context[name] = answers[name]
        elif name.startswith("_") and not name.startswith("__"):
            context[name] = default
        elif isinstance(default, list):
            context[name] = default[0]
        elif name != "__prompts__":
            context[name] = render_variable(environment, default, context)
    return context


def refusal(hook: str) -> str | None:
    """Return the refusal of the first hook, or None if it accepts the answers."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            exec(compile(hook, "pre_gen_project.py", "exec"), {})  # noqa: S102 - our own hook
        except SystemExit:
            return said.getvalue()
    return None


@examples(100, soak=20_000)
@given(texts=ALL_TEXTS)
def test_any_text_arrives_exactly_or_is_refused(
    texts: dict[str, str], render: Callable[..., str]
) -> None:
    """TOML, Python and Markdown parsers read the given text from their files."""
    answers = {"project_slug": "my-service", **texts}
    context = context_of(render.environment, answers)
    if (said := refusal(render("hooks/pre_gen_project.py", context))) is not None:
        assert_reasons(said)
        return
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "my-service"
        for holder in HOLDERS:
            file = project / holder.replace("<<cookiecutter.__package_name>>", "my_service")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(render(f"{PROJECT.name}/{holder}", context), encoding="utf-8")
        assert texts_of(project) == {name: {text} for name, text in texts.items()}


def assert_reasons(said: str) -> None:
    """Assert that a refusal names questions, with what is allowed, in lines that can be shown."""
    first, *reasons, again, command = said.splitlines()
    assert first == "No project made. Invalid answers:"
    assert reasons
    assert again == "Run this again; replace each question mark:"
    assert "gh:org/tornado-deploy" in command
    for line in reasons:
        assert line.split()[0] in QUESTIONS
        assert "allowed" in line or "take another" in line
        assert line.isprintable()


@examples(20, soak=1_000)
@given(answers=EVERYTHING)
def test_any_answers_give_a_complete_project_or_none(answers: dict[str, str]) -> None:
    """Refused answers leave no file; from accepted ones every file can be parsed."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        out = Path(folder, "out")
        out.mkdir()
        try:
            project = bake(out, **answers)
        except (CookiecutterException, OSError, ValueError):
            # A slug that can be no folder's name is refused by cookiecutter before any hook.
            # Of a slug with slashes cookiecutter leaves the outer folders, which are empty.
            assert not files_of(out)
        else:
            for name in files_of(project):
                parser_of(project / name)(project / name)
            assert texts_of(project) == {name: {answers[name]} for name in FREE}
            for name, texts in machine_texts_of(project).items():
                assert texts == {answers[name]}
        assert not list(Path(folder).rglob(CANARY))
