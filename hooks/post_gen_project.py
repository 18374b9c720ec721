"""Link the new project to its template, give it its secret, and say what comes next."""

import contextlib
import json
import os
import re
import secrets
import shlex
import stat
import subprocess
import sys
from datetime import date
from pathlib import Path

# tojson writes plain ASCII without quotes of its own, so an answer stays data whatever it holds.
ANSWERS = json.loads(r'''<< cookiecutter | tojson >>''')  # fmt: skip


def git(folder, *arguments):
    """What git says about the repository in a folder; nothing where there is none, or no git."""
    # Named outright: the folder of a zip file may lie in a repository of somebody's own.
    command = ["git", f"--git-dir={folder}/.git", *arguments]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def link_to_template():
    """Write what `make update` and cruft read: the template, its commit, and the answers.

    Return a line that says so, or what is to be done where the template has no history.
    """
    # cruft writes it itself, and gives a commit among the answers.
    if "_commit" in ANSWERS:
        return "linked by cruft"
    # Cookiecutter runs this from the template's folder, which it may know by a relative path only.
    folders = [f"/proc/{os.getppid()}/cwd", ANSWERS["_repo_dir"]]
    for folder in filter(os.path.isabs, folders):
        if commit := git(folder, "rev-parse", "HEAD"):
            break
    else:
        return "none, as it came without its git repository; README.md says how to link to it"
    # The address is for all who work on the project: no abbreviation, and no password.
    origin = re.sub(r"^(https?://)[^/@]*@", r"\1", git(folder, "remote", "get-url", "origin"))
    template = origin or os.path.realpath(folder)
    answers = {name: answer for name, answer in ANSWERS.items() if not name.startswith("_")}
    answers |= {"_template": template, "_commit": commit}
    link = {
        "template": template,
        "commit": commit,
        "checkout": ANSWERS["_checkout"],
        "context": {"cookiecutter": answers},
        "directory": None,
    }
    with open(".cruft.json", "w", encoding="utf-8") as file:
        file.write(json.dumps(link, ensure_ascii=False, indent=2) + "\n")
    return f"{template} at {commit[:12]}"


def make_secret():
    """Write .env unless there is one: a project that is generated again keeps its secret."""
    # Created private, not changed to it: no other user may read the file at any moment.
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
    for top in (".github", "deploy"):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def same_again():
    """The command that gives this project once more, without a question."""
    call = ["cookiecutter", "--no-input"]
    if ANSWERS.get("_checkout"):
        call += ["--checkout", ANSWERS["_checkout"]]
    call += [ANSWERS["_template"]]
    call += [f"{name}={answer}" for name, answer in ANSWERS.items() if not name.startswith("_")]
    return shlex.join(call)


def summary(link, secret):
    answers = ANSWERS
    slug = answers["project_slug"]
    sign_in = {
        "passwords": f"  .venv/bin/{slug} user add demo",
        "sso": "  docs/single-sign-on.md   # what to set in .env to sign in",
    }[answers["sign_in"]]
    return f"""\
Made {answers["project_name"]} in {os.getcwd()}, {secret}.
Processes: {answers["process_count"]}, on ports {answers["first_port"]} to \
{answers["__last_port"]}; load balancer: {answers["load_balancer"]}, \
on port {answers["__balancer_port"]}.
Database: {answers["database"]}. Sign-in: {answers["sign_in"]}. CI: {answers["ci"]}.
Link for `make update`: {link}.
Next:
  cd {slug} && make setup
{sign_in}
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
link = link_to_template()
secret = make_secret()
show(summary(link, secret))
