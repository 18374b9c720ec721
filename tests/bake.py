"""Answers in, project out: the tests render the template only through this module."""

import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import random
import runpy
import socket
import tempfile
import warnings
from collections.abc import Collection
from pathlib import Path
from types import CodeType
from unittest import mock

import jinja2
from cookiecutter import generate
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).resolve().parent.parent
CONTEXT = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
QUESTIONS = {name: default for name, default in CONTEXT.items() if not name.startswith("_")}
# What a fork asks beside that stands in a place of its own, and its other files in a folder.
_names = list(CONTEXT)
OF_A_FORK = QUESTIONS.keys() & set(
    _names[_names.index("_fork_from_here") : _names.index("_fork_to_here")]
)
FORK = TEMPLATE / "own"
CHOICES = {name: options for name, options in QUESTIONS.items() if isinstance(options, list)}
COMBINATIONS = [
    dict(zip(CHOICES, options, strict=True)) for options in itertools.product(*CHOICES.values())
]


ON_SERVERS = [answers for answers in COMBINATIONS if answers["process_manager"] != "containers"]


def covering(choices: int = 2, *, leaving_out: Collection[str] = ()) -> list[dict[str, str]]:
    """As few combinations as hold the options of each two choices (or more), or nearly so few.

    A choice that is left out has its first option.
    """

    def pairs(answers: dict[str, str]) -> set[tuple[tuple[str, str], ...]]:
        counted = [item for item in answers.items() if item[0] not in leaving_out]
        return set(itertools.combinations(counted, choices))

    missing = set().union(*map(pairs, COMBINATIONS))
    chosen = []
    while missing:
        best = max(COMBINATIONS, key=lambda answers: len(pairs(answers) & missing))
        missing -= pairs(best)
        chosen.append(best)
    return chosen


COMPILE = jinja2.Environment.compile
COMPILED: dict[object, CodeType] = {}


def compile_once(self: jinja2.Environment, *arguments: object, **options: object) -> CodeType:
    """What Jinja compiles a template to, remembered: without that it is most of a render."""
    key = (arguments, *options.items())
    if key not in COMPILED:
        COMPILED[key] = COMPILE(self, *arguments, **options)
    return COMPILED[key]


# Reading a file tells, and no file of the template changes from text to bytes meanwhile.
IS_BINARY = functools.cache(generate.is_binary)


def run_hook(script: str, cwd: str | Path = ".") -> None:
    """Run a hook as cookiecutter does, but in a copy of this process: half of a render else goes
    into two starts of Python. The tests with a terminal have the real ones.
    """

    def run() -> None:
        os.chdir(cwd)
        runpy.run_path(script, run_name="__main__")

    hook = multiprocessing.get_context("fork").Process(target=run)
    with warnings.catch_warnings():
        # From Python 3.12 on it warns that other threads, which pytest-xdist has, are not copied.
        warnings.simplefilter("ignore", DeprecationWarning)
        hook.start()
    hook.join()
    if hook.exitcode:
        raise FailedHookException(f"the hook ended with {hook.exitcode}")


def bake(folder: Path, *, again: bool = False, **answers: str | int) -> Path:
    """Render the template into `folder` and return the project's own folder in it.

    `again` allows a project to be there already. Answers that are not given are the defaults.
    """
    # Cookiecutter drops an answer to a question nobody asks, and the test would test nothing.
    if unknown := answers.keys() - QUESTIONS.keys():
        raise TypeError(f"not asked: {', '.join(sorted(unknown))}; asked: {', '.join(QUESTIONS)}")
    with tempfile.TemporaryDirectory() as scratch:
        # Nobody's own settings, and none of cookiecutter's leftovers: replays and rendered hooks.
        config = Path(scratch, "config.yaml")
        config.write_text(json.dumps({"replay_dir": scratch, "cookiecutters_dir": scratch}))
        with (
            mock.patch.object(tempfile, "tempdir", scratch),
            mock.patch.object(jinja2.Environment, "compile", compile_once),
            mock.patch("cookiecutter.hooks.run_script", run_hook),
            mock.patch("cookiecutter.generate.is_binary", IS_BINARY),
        ):
            project = cookiecutter(
                str(TEMPLATE),
                no_input=True,
                extra_context=answers,
                overwrite_if_exists=again,
                output_dir=str(folder),
                config_file=str(config),
            )
    return Path(project)


def package_of(project: Path) -> Path:
    """The Python package of a rendered project."""
    return project / "src" / project.name.replace("-", "_")


def files_of(project: Path) -> dict[str, bytes]:
    """Every file of a project, by its path in it."""
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file()
    }


def free_first_port(process_count: int = 4) -> int:
    """A first port from which the ports of all processes, a trial and the balancer are free."""
    firsts = beside_each_other(range(20_000, 30_000, 100))
    for first in random.sample(firsts, len(firsts)):
        if all(
            is_free(port)
            for port in (*range(first, first + process_count), first + 79, first + 80, first + 443)
        ):
            return first
    raise RuntimeError("no run of free ports between 20000 and 30000 on 127.0.0.1")


def beside_each_other(numbers: range) -> range:
    """Those of these numbers that no test takes which runs side by side with this one."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return numbers[worker::workers]


def is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
