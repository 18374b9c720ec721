"""Free text, read back from the files of a project that hold it."""

import ast
import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

import yaml
from markdown_it import MarkdownIt

from tests.bake import package_of
from tests.rendered.test_files import AnsibleLoader


def texts_of(project: Path) -> dict[str, set[str]]:
    """The texts that a project holds, by the question that each one answers.

    Each is read by a parser of its file's format; a set of more than one shows a difference.
    """
    about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (author,) = about["authors"]

    package = ast.parse((package_of(project) / "__init__.py").read_text(encoding="utf-8"))
    literals = {
        target.id: ast.literal_eval(node.value)
        for node in package.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(node.value, ast.Constant)
    }

    tokens = MarkdownIt("commonmark").parse((project / "README.md").read_text(encoding="utf-8"))
    heading, described, *_, signed = [plain(token) for token in tokens if token.type == "inline"]
    by, _, _ = signed.removeprefix("Maintained by ").rpartition(", ")
    return {
        "project_name": {literals["NAME"], heading},
        "description": {about["description"], literals["DESCRIPTION"], described},
        "author_name": {author["name"], by},
    }


def machine_texts_of(project: Path) -> dict[str, set[str]]:
    """The same for answers that are no free text, but more than text to one of their readers."""
    about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    playbook = project / "deploy/playbook.yml"
    if playbook.exists():
        (play,) = yaml.load(playbook.read_text(encoding="utf-8"), AnsibleLoader)  # noqa: S506
        named = {name: {play["vars"][name]} for name in ("service", "domain", "email")}
    else:
        (image,) = project.glob("deploy/image/Dockerfile")
        balancer = "".join(file.read_text() for file in sorted(project.glob("deploy/*/*.c*")))
        named = {
            "service": set(re.findall(r"^WORKDIR /srv/(.*)", image.read_text(), re.MULTILINE)),
            "domain": set(re.findall(r"https://([a-z0-9.-]+)[$%]", balancer)),
            "email": set(),
        }
    links = [
        str(child.attrs["href"]).removeprefix("mailto:")
        for name in ("README.md", "SECURITY.md")
        for token in MarkdownIt("commonmark").parse((project / name).read_text(encoding="utf-8"))
        for child in token.children or []
        if child.type == "link_open" and str(child.attrs["href"]).startswith("mailto:")
    ]
    assert len(links) == 2
    return {
        "project_slug": {about["name"]} | named["service"],
        "domain_name": named["domain"],
        "author_email": {
            about["authors"][0]["email"],
            *named["email"],
            *map(unquote, links),
        },
    }


def plain(inline) -> str:
    """The text a reader sees; marked-up text gives the empty string and so is noticed."""
    return "".join(child.content for child in inline.children if child.type == "text")
