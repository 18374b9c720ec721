"""SECURITY.md of the generated project: what it names exists."""

import re
from pathlib import Path


def test_every_promise_names_a_test_that_exists(combination: Path) -> None:
    """A promise stands beside a test of that name, in that file, and a file that keeps it."""
    text = (combination / "SECURITY.md").read_text()
    tests = re.findall(r"`(tests/\S+?)::(\w+)`", text)
    assert len(tests) > 20
    for file, name in tests:
        assert re.search(rf"^(async )?def {name}\(", (combination / file).read_text(), re.M), name
    (package,) = (combination / "src").iterdir()
    kept = re.findall(r"^\| [^|]+ \| `([\w/.]+)` \|", text, re.M)
    assert len(kept) > 15
    assert all((package / file).is_file() for file in kept)
