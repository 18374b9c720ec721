"""The list for `make test-mutations` is complete, and each mutation applies."""

from pathlib import Path

from tests.mutations import PROMISES, ROWS, claims_of, place_of


def test_every_promise_has_a_mutation(project: Path) -> None:
    """Each promise of SECURITY.md and each row of README.md has its mutation, and no other has."""
    assert sorted(mutation.claim for mutation in (*PROMISES, *ROWS)) == sorted(claims_of(project))


def test_every_mutation_breaks_something(project: Path) -> None:
    """The text that it replaces exists."""
    for mutation in (*PROMISES, *ROWS):
        text = place_of(mutation, project).read_text(encoding="utf-8")
        assert mutation.before in text, mutation.claim
