"""The list for `make test-mutations` is complete, and each mutation applies."""

from pathlib import Path

from tests.bake import TEMPLATE
from tests.mutations import PROMISES, ROWS, claims_of, is_of_template, place_of


def test_every_promise_has_a_mutation(project: Path) -> None:
    """Each promise of SECURITY.md and each row of README.md has its mutation, and no other has."""
    assert sorted(mutation.claim for mutation in (*PROMISES, *ROWS)) == sorted(claims_of(project))


def test_every_mutation_breaks_something(project: Path) -> None:
    """The text that it replaces exists."""
    for mutation in (*PROMISES, *ROWS):
        text = place_of(mutation, project).read_text(encoding="utf-8")
        assert mutation.before in text, mutation.claim


def test_the_tests_of_every_mutation_exist(project: Path) -> None:
    """Each test that is named beside a mutation is in its file, where the mutated file stands."""
    for mutation in ROWS:
        root = TEMPLATE if is_of_template(mutation) else project
        for test in mutation.tests.split():
            file, _, name = test.partition("::")
            assert f"def {name}" in (root / file).read_text(encoding="utf-8"), test
