# Part of the template: you need not edit this file.
"""What runs: the release, its commit, and the lock that its packages are from."""

import hashlib
from pathlib import Path

# git writes the commit here when a release is packed: .gitattributes has it do so.
COMMIT = "$Format:%H$"
# In the folder of a release on a server; beside the package in an image.
LOCKS = (Path("requirements.txt"), Path(__file__).resolve().parents[2] / "requirements.txt")


def provenance(release: str) -> dict[str, str]:
    """Return the release, the commit, and the SHA-256 of requirements.txt; "unknown" without one."""
    lock = next((file for file in LOCKS if file.exists()), None)
    return {
        "release": release,
        "commit": "unknown" if COMMIT.startswith("$") else COMMIT,
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest() if lock else "unknown",
    }
