"""Give the new project its secret, and say what was made and what comes next."""

import contextlib
import json
import os
import secrets
import shlex
import stat
import sys
from datetime import date
from pathlib import Path

# tojson writes plain ASCII without quotes of its own, so an answer stays data whatever it holds.
ANSWERS = json.loads(r'''<< cookiecutter | tojson >>''')  # fmt: skip


def make_secret():
    """Write .env unless there is one: a project that is generated again keeps its secret."""
    # Nobody else may read the file at any moment, so it is made private, not turned private.
    try:
        file = os.open(".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return "its .env kept"
    with open(file, "w", encoding="utf-8") as env:
        env.write("# Secrets and settings of this machine; .env.example lists them all.\n")
        env.write(f"COOKIE_SECRET={date.today():%Y%m%d}:{secrets.token_urlsafe(48)}\n")
    return "a new cookie secret in its .env"


def make_programs_runnable():
    """A template that comes as a zip file has lost which of its files can be run."""
    for path in Path("deploy").rglob("*"):
        if path.is_file() and path.read_bytes().startswith(b"#!"):
            path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def remove_empty_folders():
    """Cookiecutter makes a folder even where no choice has brought a file into it."""
    for folder in (".github/workflows", "deploy/fleet"):
        with contextlib.suppress(OSError):
            os.removedirs(folder)


def same_again():
    """The command that gives this project once more, without a question."""
    call = ["cookiecutter", "--no-input"]
    if ANSWERS.get("_checkout"):
        call += ["--checkout", ANSWERS["_checkout"]]
    call += [ANSWERS["_template"]]
    call += [f"{name}={answer}" for name, answer in ANSWERS.items() if not name.startswith("_")]
    return shlex.join(call)


def summary(secret):
    answers = ANSWERS
    slug = answers["project_slug"]
    return f"""\
Made {answers["project_name"]} in {os.getcwd()}, {secret}.
Processes: {answers["process_count"]}, on ports {answers["first_port"]} to \
{answers["__last_port"]}; load balancer: {answers["load_balancer"]}, \
on port {answers["__balancer_port"]}.
Database: {answers["database"]}. CI: {answers["ci"]}.
Next:
  cd {slug} && make setup
  .venv/bin/{slug} user add demo
  make run                  # then open http://localhost:{answers["__debug_port"]}
To repeat without questions:
  {same_again()}"""


def show(text):
    """Print it if that is possible: cookiecutter deletes the project when this program fails."""
    if sys.stdout is None:
        return
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)
    except OSError:
        # Python writes what is left once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


remove_empty_folders()
make_programs_runnable()
secret = make_secret()
show(summary(secret))
