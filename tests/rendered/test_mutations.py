"""The list for `make test-mutations` is complete, and each mutation applies."""

from pathlib import Path

import pytest

from tests.bake import CHOICES, TEMPLATE, bake
from tests.mutations import PROMISES, ROWS, claims_of, is_of_template, place_of

Projects = dict[str, Path]


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Projects:
    """A project for each way to sign in."""
    return {
        sign_in: bake(tmp_path_factory.mktemp(sign_in), sign_in=sign_in)
        for sign_in in CHOICES["sign_in"]
    }


def test_every_promise_has_a_mutation(projects: Projects) -> None:
    """Each promise of SECURITY.md and each row of README.md has its mutation, and no other has."""
    promised = set().union(*map(claims_of, projects.values()))
    assert sorted(mutation.claim for mutation in (*PROMISES, *ROWS)) == sorted(promised)


def test_every_mutation_breaks_something(projects: Projects) -> None:
    """The text that it replaces exists."""
    for mutation in (*PROMISES, *ROWS):
        text = place_of(mutation, projects[mutation.sign_in]).read_text(encoding="utf-8")
        assert mutation.before in text, mutation.claim


def test_the_tests_of_every_mutation_exist(projects: Projects) -> None:
    """Each test that is named beside a mutation is in its file, where the mutated file stands."""
    for mutation in ROWS:
        root = TEMPLATE if is_of_template(mutation) else projects[mutation.sign_in]
        for test in mutation.tests.split():
            file, _, name = test.partition("::")
            assert f"def {name}" in (root / file).read_text(encoding="utf-8"), test
