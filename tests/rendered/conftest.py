"""Projects to look at, rendered once each."""

from pathlib import Path

import pytest

from tests.bake import COMBINATIONS, bake


@pytest.fixture(
    scope="session", params=COMBINATIONS, ids=lambda answers: "-".join(answers.values())
)
def combination(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of every combination of choices, in turn."""
    return bake(tmp_path_factory.mktemp("combination"), **request.param)
