"""SECURITY.md of the generated project names files and tests that exist."""

import re
from pathlib import Path


def test_every_promise_names_a_test_that_exists(combination: Path) -> None:
    """Each promise names an existing test and an existing file that keeps it."""
    text = (combination / "SECURITY.md").read_text()
    tests = re.findall(r"`(tests/\S+?)::(\w+)`", text)
    assert len(tests) > 20
    for file, name in tests:
        assert re.search(rf"^(async )?def {name}\(", (combination / file).read_text(), re.M), name
    (package,) = (combination / "src").iterdir()
    kept = re.findall(r"^\| [^|]+ \| `([\w/.]+)` \|", text, re.M)
    assert len(kept) > 15
    assert all((package / file).is_file() for file in kept)


# What must hold; and the chapters of OWASP ASVS 4.0.3 that SECURITY.md measures.
HOLDS = set("2.1.2 2.1.7 2.1.12 2.5.6 3.3.4 7.1.3 7.1.4 7.2.1 7.3.1".split())
CHAPTERS = set("2 3 4 7 8 14".split())


def test_unmet_requirements_have_a_reason(combination: Path, answers: dict[str, str]) -> None:
    """Each unmet requirement of ASVS is listed once, with its remedy."""
    text = (combination / "SECURITY.md").read_text().partition("OWASP ASVS 4.0.3")[2]
    rows = [line.split("|")[1:-1] for line in text.splitlines() if re.match(r"\| \d", line)]
    listed = [number for row in rows for number in re.findall(r"\d+\.\d+\.\d+", row[0])]
    assert len(listed) == len(set(listed))
    assert {number.partition(".")[0] for number in listed} == CHAPTERS
    # Who has no password here cannot be asked for it.
    unmet = set() if answers["sign_in"] == "passwords" else {"3.3.4"}
    assert HOLDS & set(listed) == unmet
    assert all(len(reason.strip()) > 20 for _, reason in rows if reason.strip() != "Python cannot")
