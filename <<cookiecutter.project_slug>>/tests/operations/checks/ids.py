"""The ids of findings, as the checks document them."""

import re
from collections.abc import Callable
from typing import Any


def ids_of(check: Callable[..., Any]) -> list[str]:
    """Return the ids at the beginning of a check's docstring."""
    assert check.__doc__
    return re.findall(r"\b[A-Z]\d{3}\b", check.__doc__.partition(":")[0])
