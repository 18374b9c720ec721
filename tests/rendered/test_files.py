"""Every file of a rendered project is complete, and its reader can parse it."""

import configparser
import functools
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tornado.template
import yaml
from markdown_it import MarkdownIt
from supervisor.options import ServerOptions

from tests.bake import (
    CHOICES,
    CONTEXT,
    FORK,
    OF_A_FORK,
    QUESTIONS,
    TEMPLATE,
    bake,
    files_of,
    package_of,
)

# `check --url` knows the marks of any server, whatever this project runs; the template may lie in a
# folder, or on a host, of any name; and users may sign in at GitLab, whatever the CI service is.
NAMES_ANYTHING = ("checks/site.py", "checks/test_site.py", ".cruft.json", "single-sign-on.md")
# The words by which a choice is known; a short one would be found in any text.
TRACES: dict[str, dict[str, set[str]]] = {
    "load_balancer": {"nginx": {"nginx"}, "haproxy": {"haproxy"}},
    "database": {"sqlite": {"sqlite"}, "postgresql": {"postgres", "psycopg"}},
    "sign_in": {
        "passwords": {"argon2", "zxcvbn", "user add", "throttle"},
        "sso": {"oidc", "joserfc", "single sign-on"},
    },
    "ci": {"github": {"github", "dependabot"}, "gitlab": {"gitlab", "renovate"}, "none": set()},
}
ENGINES = rb"(?i:docker|kubernetes|compose\.yml)"
ADDRESS = re.compile(r"https?://\S+")
OWNED = re.compile(r"( *)(\S+|other files) +(yours|ours|made)(?: .*)?")
EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
TEXT = re.compile(
    r"""(?:>|(?:alt|aria-label|data-\w+|placeholder|title)=")([^<"]*[A-Za-z][^<"]*)"""
)
WORDS = re.compile(r"""["'`][A-Z][a-z]+[ …"'`].*""")
LEFT_OVER = re.compile(rb"<<|<%|<#|^\s*#%|cookiecutter\.__", re.MULTILINE)


class AnsibleLoader(yaml.CSafeLoader):
    """YAML, and in it text that Ansible must not take for a template."""


AnsibleLoader.add_constructor("!unsafe", AnsibleLoader.construct_yaml_str)


# Most files are the same for most answers: each text is read once.
@functools.cache
def load_yaml(text: str) -> None:
    list(yaml.load_all(text, AnsibleLoader))


@functools.cache
def compile_python(source: str) -> None:
    compile(source, "a file", "exec")


@functools.cache
def read_shell(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@functools.cache
def targets_of(markdown: str) -> list[str]:
    """Where the links and images of a text lead."""
    tokens = MarkdownIt("commonmark").parse(markdown)
    inline = [child for token in tokens for child in token.children or []]
    return [str(child.attrs.get("href") or child.attrs.get("src") or "") for child in inline]


def parse_toml(path: Path) -> None:
    tomllib.loads(path.read_text(encoding="utf-8"))


def parse_yaml(path: Path) -> None:
    load_yaml(path.read_text(encoding="utf-8"))


def parse_json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


def parse_ini(path: Path) -> None:
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(path.read_text(encoding="utf-8"))
    assert parser.sections()


def parse_unit(path: Path) -> None:
    # A name may be given several times, once for each of its values.
    parser = configparser.RawConfigParser(strict=False, delimiters="=")
    parser.read_string(path.read_text(encoding="utf-8"))
    assert parser.sections()


def parse_python(path: Path) -> None:
    compile_python(path.read_text(encoding="utf-8"))


def parse_shell(path: Path) -> None:
    read_shell(path.read_text(encoding="utf-8"))


def parse_svg(path: Path) -> None:
    ElementTree.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314


def parse_page(path: Path) -> None:
    tornado.template.Loader(str(path.parent)).load(path.name)


def parse_links(path: Path) -> None:
    for target in filter(None, targets_of(path.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:|#", target):
            assert (path.parent / target.partition("#")[0]).exists(), f"a link to {target}"


def only_text(path: Path) -> None:
    path.read_text(encoding="utf-8")


def only_bytes(path: Path) -> None:
    assert path.read_bytes()


# What reads a file, by the end of its name; nginx and HAProxy read theirs in tests of their own.
PARSERS = {
    ".cfg": only_text,
    ".conf": only_text,
    ".css": only_text,
    ".example": only_text,
    ".html": parse_page,
    ".ico": only_bytes,
    ".ini": parse_ini,
    ".js": only_text,
    ".j2": only_text,
    ".json": parse_json,
    ".mako": only_text,
    ".md": parse_links,
    ".png": only_bytes,
    ".py": parse_python,
    ".service": parse_unit,
    ".timer": parse_unit,
    ".svg": parse_svg,
    ".target": parse_unit,
    ".toml": parse_toml,
    ".txt": only_text,
    ".typed": Path.exists,
    ".webmanifest": parse_json,
    ".yaml": parse_yaml,
    ".yml": parse_yaml,
    ".dockerignore": only_text,
    ".editorconfig": only_text,
    ".env": only_text,
    ".gitattributes": only_text,
    ".gitignore": only_text,
    "CODEOWNERS": only_text,
    "Dockerfile": only_text,
    "LICENSE": only_text,
    "Makefile": only_text,
}


def parser_of(path: Path) -> Callable[[Path], object]:
    first = path.read_bytes().partition(b"\n")[0]
    if first.startswith(b"#!"):
        return parse_python if b"python" in first else parse_shell
    # A suffix or, for a file without one, its whole name.
    kind = path.suffix or path.name
    # A fork need not change this file to have files of its own kinds.
    return PARSERS.get(kind, only_text) if FORK.exists() else PARSERS[kind]


def test_every_file_can_be_read(combination: Path) -> None:
    """TOML, INI, YAML, JSON, Python, shell, SVG, templates and Markdown links are valid.

    A file of a kind that is not in the table fails here: say there what reads it.
    """
    faults = []
    for name in files_of(combination):
        try:
            parser_of(combination / name)(combination / name)
        except Exception as fault:
            faults.append(f"{name}: {type(fault).__name__} {fault}")
    assert not faults, "\n".join(faults)


def test_nothing_of_the_template_is_left(combination: Path) -> None:
    """No file and no name contains a delimiter of the template."""
    left = [
        f"{name}: {found[0].decode()}"
        for name, content in files_of(combination).items()
        if (found := LEFT_OVER.search(name.encode()) or LEFT_OVER.search(content))
    ]
    assert not left, "\n".join(left)


def test_text_files_end_cleanly(combination: Path) -> None:
    """Text has Unix line ends, no trailing spaces and one newline at its end."""
    untidy = []
    for name, content in files_of(combination).items():
        if b"\0" in content or not content:
            continue
        if not content.endswith(b"\n") or content.endswith(b"\n\n"):
            untidy.append(f"{name}: its end")
        if re.search(rb"[ \t\r]$", content, re.MULTILINE):
            untidy.append(f"{name}: the end of a line")
    assert not untidy, "\n".join(untidy)


def test_every_text_of_a_page_can_be_translated(project: Path) -> None:
    """Templates hold no visible text outside of `_`; scripts take theirs from `data-`."""
    found = []
    for path in sorted((package_of(project) / "static").glob("*.js")):
        found += [
            f"{path.name}: {text}" for text in WORDS.findall(path.read_text(encoding="utf-8"))
        ]
    for path in sorted((package_of(project) / "templates").iterdir()):
        page = EXPRESSION.sub("", path.read_text(encoding="utf-8"))
        found += [f"{path.name}: {text.strip()}" for text in TEXT.findall(page)]
    assert not found, "\n".join(found)


def test_the_map_is_true(combination: Path) -> None:
    """The README marks each file as the team's or the template's, and each that it names is there.

    Each file of the package that is the template's says so in its first line; no other does.
    """
    readme = (combination / "README.md").read_text(encoding="utf-8")
    owners, folder = {}, ""
    for line in readme.partition("\n```\nsrc/")[2].partition("```")[0].splitlines():
        indent, name, owner = OWNED.fullmatch(line).groups() if folder else ("", "src/" + line, "")
        if not indent:
            folder = name
        owners[folder + name if indent else name] = owner
    there = {name for name, owner in owners.items() if owner not in ("", "made")}
    assert [name for name in there - {"other files"} if not (combination / name).exists()] == []
    for name, content in files_of(combination).items():
        places = [place for place in owners if name == place or name.startswith(place)]
        assert places or "/" not in name, f"{name} is not on the map"
        owner = owners[max(places, key=len, default="other files")]
        assert owner in ("yours", "ours"), f"{name} is not on the map"
        if name.startswith("src/") and name.endswith(".py"):
            assert content.startswith(b"# Part of the template") == (owner == "ours"), name


def test_no_empty_folder_is_made(combination: Path) -> None:
    """A choice that was not made leaves no empty folder."""
    folders = [path for path in combination.rglob("*") if path.is_dir()]
    assert not [folder for folder in folders if not any(folder.iterdir())]


def traces(options: dict[str, set[str]], texts: dict[str, str]) -> dict[str, list[str]]:
    """The files in which a word of each option stands."""
    return {
        option: [name for name, text in texts.items() if any(word in text for word in words)]
        for option, words in options.items()
    }


def test_choices_that_were_not_made_leave_no_trace(
    answers: dict[str, str], combination: Path
) -> None:
    """No file, by its name or in its text, mentions a choice that was not made.

    An address may, where it is one on that service. The process managers have a test of their own.
    The words of what was chosen are found: a word that
    stands nowhere would show nothing.
    """
    texts = {
        name: name.lower() + ADDRESS.sub("", content.decode(errors="replace")).lower()
        for name, content in files_of(combination).items()
        if not name.endswith(NAMES_ANYTHING)
    }
    # In front of the nodes of an engine is always HAProxy.
    cluster = answers["process_manager"] == "containers" and answers["database"] == "postgresql"
    engines = {"haproxy"} if cluster else set()
    for question, options in TRACES.items():
        for option, found in traces(options, texts).items():
            if option == answers[question]:
                assert found or not options[option], f"nothing mentions {option}"
            elif option not in engines:
                assert not found, f"{option} was not chosen"


def test_a_trace_is_found() -> None:
    """Each option has words to search for, or declares none; a file with one is found."""
    assert {name: set(options) for name, options in TRACES.items()} == {
        name: set(options)
        for name, options in CHOICES.items()
        if name != "process_manager" and name not in OF_A_FORK
    }
    for options in TRACES.values():
        for option, words in options.items():
            for word in words:
                assert traces(options, {"a": f"see {word}.conf", "b": "no"})[option] == ["a"]


def test_one_process_manager_leaves_no_trace_of_the_other(
    answers: dict[str, str], combination: Path
) -> None:
    """With systemd, supervisord appears only for localhost; without it, no file mentions units.

    With containers, no file mentions servers; without them, none mentions an engine.

    supervisord runs `make stack` for everybody, since it needs nothing else; and Debian's systemd
    starts supervisord on a server, so it is named in any case.
    """
    foreign, where = {
        "supervisord": (
            rb"deploy/systemd|sd_notify|NOTIFY_SOCKET|WatchdogSec|my-service@|" + ENGINES,
            set(),
        ),
        "containers": (
            rb"(?i:ansible|playbook|watchdog)|production.yml|sd_notify|NOTIFY_SOCKET|my-service@",
            set(),
        ),
        "systemd": (
            rb"supervisor|" + ENGINES,
            {
                *("README.md", "deploy/README.md", "deploy/local/stack"),
                *("deploy/local/supervisord.conf", "deploy/roll"),
                *("pyproject.toml", "requirements-dev.txt"),
            },
        ),
    }[answers["process_manager"]]
    files = files_of(combination)
    assert {
        name for name, content in files.items() if re.search(foreign, name.encode() + content)
    } == where


def test_supervisord_accepts_its_files(
    combination: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """supervisord's own parser accepts every main file and finds the processes in it."""
    # A server's user is on the server, and folders of logs are made before supervisord starts.
    monkeypatch.setattr("supervisor.options.name_to_uid", lambda name: 0)
    monkeypatch.setattr("supervisor.datatypes.existing_dirpath", lambda path: path)
    monkeypatch.setattr("supervisor.options.existing_dirpath", lambda path: path)
    monkeypatch.setattr("supervisor.options.existing_directory", lambda path: path)
    name = combination.name
    server = shutil.copytree(combination, tmp_path / name)
    files = sorted(server.rglob("supervisord.conf"))
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        # On localhost these are told by deploy/local/stack.
        for variable in re.findall(r"%\(ENV_(\w+)\)s", text):
            monkeypatch.setenv(variable, "")
        file.write_text(text.replace(f"/srv/{name}/current", str(server)), encoding="utf-8")
        options = ServerOptions()
        options.realize(["-c", str(file), "-n"])
        options.process_config()
        groups = {group.name: group.process_configs for group in options.process_group_configs}
        ports = range(int(QUESTIONS["first_port"]), int(QUESTIONS["first_port"]) + 4)
        assert [process.name for process in groups[name]] == [f"{name}-{port}" for port in ports]


def test_the_same_answers_give_the_same_bytes(tmp_path: Path) -> None:
    """Two projects of the same answers differ only in their secrets."""
    one, two = (files_of(bake(tmp_path / name)) for name in ("one", "two"))
    assert one.pop(".env") != two.pop(".env")
    assert one == two


def test_modes_are_those_of_the_template(combination: Path) -> None:
    """Scripts are executable, other files are not, and only the owner reads .env."""
    for name, content in files_of(combination).items():
        mode = (combination / name).stat().st_mode & 0o777
        if name == ".env":
            assert mode == 0o600
        else:
            assert bool(mode & 0o111) == content.startswith(b"#!"), f"{name}: {mode:o}"


def test_the_template_holds_nothing_that_git_ignores() -> None:
    """Cookiecutter would render everything in the template's folder, such as caches."""
    ignored = subprocess.run(
        ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "<<cookiecutter*"],
        cwd=TEMPLATE,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ignored.stdout == ""


def test_cruft_finds_the_template() -> None:
    """A link whose name has cruft's delimiters leads to the template's folder."""
    link = TEMPLATE / "{{cookiecutter.project_slug}}"
    assert link.readlink() == Path("<<cookiecutter.project_slug>>")


def test_every_derived_value_is_used() -> None:
    """Each private variable is used by a file, a hook or another variable."""
    folders = [TEMPLATE / name for name in ("<<cookiecutter.project_slug>>", "hooks", "templates")]
    text = (TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8")
    for path in (path for folder in folders for path in folder.rglob("*")):
        text += path.name
        if path.is_file():
            text += path.read_text(encoding="utf-8", errors="replace")
    derived = [name for name in CONTEXT if name.startswith("__") and name != "__prompts__"]
    used = set(re.findall(r"""cookiecutter\.(__\w+)|ANSWERS\[["'](__\w+)""", text))
    assert set(derived) <= {name for names in used for name in names}
