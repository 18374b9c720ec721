"""The list for `make test-mutations` is complete, and each mutation finds its place."""

from pathlib import Path

from tests.mutations import PROMISES, ROWS, claims_of, place_of


def test_every_promise_has_a_mutation(project: Path) -> None:
    """What SECURITY.md promises and README.md lists is broken by a mutation, and nothing more."""
    assert sorted(mutation.claim for mutation in (*PROMISES, *ROWS)) == sorted(claims_of(project))


def test_every_mutation_breaks_something(project: Path) -> None:
    """The text that it changes is there."""
    for mutation in (*PROMISES, *ROWS):
        text = place_of(mutation, project).read_text(encoding="utf-8")
        assert mutation.before in text, mutation.claim
