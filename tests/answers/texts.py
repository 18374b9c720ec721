"""Free text, read back from the files of a project that hold it."""

import ast
import tomllib
from pathlib import Path

from markdown_it import MarkdownIt

from tests.bake import package_of


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
    by, _, _ = signed.removeprefix("Looked after by ").rpartition(", ")
    return {
        "project_name": {literals["NAME"], heading},
        "description": {about["description"], literals["DESCRIPTION"], described},
        "author_name": {author["name"], by},
    }


def plain(inline) -> str:
    """The text a reader sees; marked-up text gives the empty string and so is noticed."""
    return "".join(child.content for child in inline.children if child.type == "text")
