"""Commits that no deploy may leave in service."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.deploys import Repository

REASON = "broken on purpose"
CRASHES = f'\nraise RuntimeError("{REASON}")\n'
ENDS_AT_ITS_START = f"""

def open_app(*_: object) -> None:
    raise RuntimeError("{REASON}")
"""
NEVER_READY = f"""

async def _never(self: Readyz) -> str:
    return "{REASON}"


Readyz._status = _never
"""
MIGRATION = f"""
from alembic import op

revision = "9999"
down_revision = "%s"


def upgrade() -> None:
    op.execute("CREATE TABLE halfway (id INTEGER)")
    raise RuntimeError("{REASON}")
"""


@contextmanager
def next_commit(owner: Repository, file: Path, text: str) -> Iterator[str]:
    """The project's last commit adds this to a file; afterwards the one before is the last."""
    with file.open("a") as source:
        source.write(text)
    try:
        yield owner.commit("The next")
    finally:
        owner.git("reset", "--quiet", "--hard", "HEAD~1")
