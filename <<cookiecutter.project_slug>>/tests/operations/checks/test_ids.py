"""The ids of all findings."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from << cookiecutter.__package_name >>.operations.checks import local, site

from .ids import ids_of

CHECKS: list[Callable[..., Any]] = [*local.CHECKS, *site.CHECKS]


def test_every_check_documents_its_ids() -> None:
    """A check's docstring begins with its ids, and no two checks share one."""
    for check in CHECKS:
        assert ids_of(check) == re.findall(r'\(\s*"([A-Z]\d{3})"', inspect.getsource(check))
    ids = [found for check in CHECKS for found in ids_of(check)]
    assert len(ids) == len(set(ids))


def test_every_id_is_expected_by_a_test() -> None:
    """Each id appears in another test that makes a check find it."""
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    documented = [found for check in CHECKS for found in ids_of(check)]
    assert [found for found in documented if f'"{found}"' not in tests] == []
