"""The licenses of the installed packages."""

import tomllib
from importlib.metadata import PackageMetadata, distributions
from pathlib import Path

import pytest

from << cookiecutter.__package_name >> import COMMAND

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
ALLOWED = set(tomllib.loads(PROJECT.read_text("utf-8"))["tool"]["licenses"]["allowed"])


def license_of(metadata: PackageMetadata) -> str:
    """Return an expression of SPDX or, of an older package, the words of its author."""

    def lines(field: str) -> list[str]:
        return metadata.get_all(field) or []

    classified = [line for line in lines("Classifier") if line.startswith("License :: ")]
    names = " AND ".join(line.rpartition(" :: ")[2] for line in classified)
    # A whole text may stand where its name should.
    words, _, _ = "".join(lines("License")).partition("\n")
    return "".join(lines("License-Expression")) or words or names or "no license"


def is_allowed(expression: str) -> bool:
    """Return whether each part is allowed; of alternatives one is enough."""
    return all(
        any(word in ALLOWED for word in part.split(" OR ")) for part in expression.split(" AND ")
    )


def test_all_licenses_are_allowed() -> None:
    """Each installed package has a license of the list in pyproject.toml, `tool.licenses.allowed`.

    Another one: read it, then add its words, or take another package.
    """
    found = {one.name: license_of(one.metadata) for one in distributions() if one.name != COMMAND}
    assert len(found) > 20
    assert {name: words for name, words in found.items() if not is_allowed(words)} == {}


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("MIT AND BSD-3-Clause", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("no license", False),
    ],
)
def test_an_expression_is_read(expression: str, *, allowed: bool) -> None:
    """All parts of an expression count, and one of alternatives."""
    assert is_allowed(expression) == allowed
