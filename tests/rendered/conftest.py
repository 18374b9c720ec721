"""Projects to look at, rendered once each."""

from pathlib import Path

import pytest

from tests.bake import COMBINATIONS, bake, covering


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, those that look at one combination stay together."""
    for item in items:
        chosen = getattr(item, "callspec", None) and item.callspec.params.get("answers")
        if chosen in COMBINATIONS and "combination" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("-".join(chosen.values())))


@pytest.fixture(scope="session", params=covering(3), ids=lambda answers: "-".join(answers.values()))
def answers(request: pytest.FixtureRequest) -> dict[str, str]:
    """Combinations that hold the options of each three choices: no file depends on four."""
    return request.param


@pytest.fixture(scope="session")
def combination(answers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of these answers, for tests that only look."""
    return bake(tmp_path_factory.mktemp("combination"), **answers)
