"""The imports of a generated project: layers, and no circles."""

import ast
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.bake import covering


def modules_of(package: Path) -> dict[str, Path]:
    """The modules of a package by name, without its own, a package being its `__init__`."""
    return {
        ".".join(file.relative_to(package).with_suffix("").parts)
        .removesuffix("__init__")
        .strip("."): file
        for file in package.rglob("*.py")
        if "versions" not in file.parts
    }


def imports_of(name: str, file: Path, modules: dict[str, Path]) -> set[str]:
    """The modules of the package that a module imports, at its top or in a function."""
    found = set()
    here = name.split(".") if name else []
    if file.name != "__init__.py":
        here = here[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = here[: len(here) - node.level + 1] + (node.module or "").split(".")
        target = ".".join(part for part in base if part)
        inside = {f"{target}.{alias.name}".strip(".") for alias in node.names} & modules.keys()
        found |= inside or {target}
    return found - {name}


@pytest.mark.parametrize("answers", covering(leaving_out=("ci",)), ids=str)
def test_imports_go_one_way(answers: dict[str, str], bake: Callable[..., Path]) -> None:
    """No module imports, directly or not, a module that imports it; `runtime/` imports no other."""
    project = bake(**answers)
    modules = modules_of(project / "src/my_service")
    graph = {name: imports_of(name, file, modules) for name, file in modules.items()}
    assert list(TopologicalSorter(graph).static_order())
    runtime = {name for name in modules if name.startswith("runtime.")}
    assert len(runtime) > 8
    for name in runtime:
        assert graph[name] <= runtime | {""}, name


def test_accounts_know_no_http(project: Path) -> None:
    """Handlers import accounts, accounts import the database, never the other way round."""
    modules = modules_of(project / "src/my_service")
    for name, file in modules.items():
        imported = imports_of(name, file, modules)
        if name.startswith("accounts."):
            assert not {one for one in imported if one.startswith("handlers")}, name
            assert "tornado" not in file.read_text(), name
        if name in ("database", "engine"):
            assert not {one for one in imported if one.startswith(("accounts", "handlers"))}, name
