"""Answers at the limits of what is allowed, and the summary of a success."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bake import CONTEXT, QUESTIONS, TEMPLATE, bake, covering, files_of

GOOD = [
    {"project_name": "n"},
    {"project_name": "Пример", "project_slug": "example"},
    {"project_slug": "a"},
    {"project_slug": "s" * 32},
    {"project_slug": "a2-3b-4"},
    {"author_email": "first.last+tag@mail.example.co.uk"},
    {"author_email": "!#$%&'*+/=?^_`{|}~-@localhost"},
    {"domain_name": "localhost"},
    {"domain_name": "xn--mnchen-3ya.de"},
    {"domain_name": ".".join(["a" * 63] * 3 + ["b" * 61])},
    {"first_port": "1024"},
    {"first_port": "65092", "process_count": "64"},
    {"first_port": 8000, "process_count": 1},
]


@pytest.mark.parametrize("answers", GOOD, ids=str)
def test_a_valid_answer_gives_a_project(
    answers: dict[str, str | int], bake: Callable[..., Path]
) -> None:
    """Answers at both limits of what is allowed give a project."""
    assert (bake(**answers) / ".env").exists()


def test_the_slug_of_a_long_name_fits() -> None:
    """The longest name, in letters that are transliterated to several, gives a valid slug."""
    assert "max_length=32" in QUESTIONS["project_slug"]


@pytest.mark.parametrize("name", ["Щ" * 60, "My Service " * 5 + "Name"])
def test_a_long_name_needs_no_slug_of_its_own(name: str, bake: Callable[..., Path]) -> None:
    """A name of up to 60 characters gives a valid slug."""
    assert 1 <= len(bake(project_name=name).name) <= 32


def test_two_services_on_a_machine_share_no_port(bake: Callable[..., Path]) -> None:
    """First ports that are a hundred apart, as the question says, leave all others free."""
    assert "a hundred higher" in CONTEXT["__prompts__"]["first_port"]
    ports = []
    for first in (8000, 8100):
        made = bake(first_port=first, process_count=64, project_slug=f"on-{first}")
        texts = [(made / name).read_text() for name in ("README.md", "deploy/README.md")]
        ports.append({*re.findall(r"(?<!\d)8\d{3}(?!\d)", "".join(texts))})
    assert {"8000", "8063", "8079", "8080", "8443"} <= ports[0]
    assert {"8100", "8163", "8179", "8180", "8543"} <= ports[1]
    # But that of `make run`.
    assert ports[0] & ports[1] <= {CONTEXT["__debug_port"]}


def test_other_ports_differ_from_those_of_processes(tmp_path: Path) -> None:
    """With any number of processes, the trial's port below the balancer's is not theirs."""
    project = bake(tmp_path, first_port="20000", process_count="64")
    assert project.exists()
    assert int(CONTEXT["__trial_port"].split("+")[1].split()[0]) >= 64


@pytest.mark.parametrize("answers", covering(), ids=str)
def test_the_summary_is_short_and_complete(
    answers: dict[str, str], bake: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """At most ten lines show the result, the next steps and the command to repeat it."""
    project = bake(first_port=9000, **answers)
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert len(lines) <= 10
    for word in ("My Service", str(project), "9000", "9003", "9080", *answers.values()):
        assert word in said.out
    for command in (
        "cd my-service && make setup",
        {
            "passwords": ".venv/bin/my-service user add demo",
            "sso": "docs/single-sign-on.md",
        }[answers["sign_in"]],
        "make run",
    ):
        assert any(line.strip().startswith(command) for line in lines)
    assert "http://localhost:8888" in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    "name", ["My Service", "O'Reilly's \"$HOME\" `id` \\ %s {{ x }} !! * ? ~ # é 👩‍💻"]
)
def test_the_printed_command_makes_the_same_project(
    name: str, terminal: Callable[..., object], tmp_path: Path
) -> None:
    """The printed command without questions, pasted into a shell, repeats every answer."""
    first, second = tmp_path / "first", tmp_path / "second"
    answers = [f"project_name={name}", f"description={name}", f"author_name={name}"]
    answers += ["project_slug=my-service", "first_port=9000", "load_balancer=haproxy"]
    made = terminal(TEMPLATE, "--no-input", *answers, "-o", first)
    assert made.returncode == 0, made.stderr
    program, *arguments = shlex.split(made.stdout.splitlines()[-1])
    assert program == "cookiecutter"
    again = terminal(*arguments, "-o", second)
    assert again.returncode == 0, again.stderr
    assert without_secret(first / "my-service") == without_secret(second / "my-service")


def test_a_limited_terminal_does_not_fail(terminal: Callable[..., object], tmp_path: Path) -> None:
    """A name that the terminal cannot show does not cost the project."""
    made = terminal(
        TEMPLATE,
        "--no-input",
        "project_name=Сервис",
        "-o",
        tmp_path / "out",
        env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    )
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "out" / "servis" / ".env").exists()


@pytest.mark.parametrize("output", ["| true", "> /dev/full", ">&-"])
def test_a_failed_summary_does_not_fail(output: str, tmp_path: Path) -> None:
    """When the summary cannot be printed, the project is complete."""
    command = [sys.executable, "-m", "cookiecutter", TEMPLATE, "--no-input", "-o", tmp_path]
    made = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{shlex.join(map(str, command))} {output}"],
        env=os.environ | {"HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "my-service" / ".env").exists()


def test_every_question_reads_as_a_sentence() -> None:
    """Each question has a sentence, and each choice a label; one is recommended."""
    prompts = {
        name: text for name, text in CONTEXT["__prompts__"].items() if not name.startswith("_")
    }
    assert list(prompts) == list(QUESTIONS)
    for name, default in QUESTIONS.items():
        if isinstance(default, list):
            labels = dict(prompts[name])
            assert labels.pop("__prompt__")
            assert list(labels) == default
            assert "recommended" in labels[default[0]]
        else:
            assert " " in prompts[name]


def without_secret(project: Path) -> dict[str, bytes]:
    files = files_of(project)
    del files[".env"]
    return files


def test_the_network_is_not_needed(terminal: Callable[..., object], tmp_path: Path) -> None:
    """Cookiecutter and both hooks create the project without a connection."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(*arguments, **options): raise OSError('the network is cut')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    made = terminal(TEMPLATE, "--no-input", "-o", tmp_path / "out", env={"PYTHONPATH": path})
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "out" / "my-service" / ".env").exists()
