"""Passwords: hashed with argon2id, off the event loop, a few at a time."""

import asyncio
import os
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from argon2.low_level import ARGON2_VERSION

from .. import NAME

SHORTEST = 12
LONGEST = 1024
# On zxcvbn's scale from 0 to 4: 3 takes an attacker who has the hash at least 10^8 guesses.
STRENGTH = 3


class Passwords:
    """Hashes and checks passwords in threads, as many at a time as there are processors.

    A hash takes some 50 ms and 64 MiB (RFC 9106, second recommended option); more at once would
    only take memory.
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="password")
        self._nobody = _hash_of_nothing(self._hasher)

    async def hash(self, password: str) -> str:
        """Return the hash of a password, which holds its salt and parameters."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._hasher.hash, password)

    async def find_problem(self, password: str, name: str) -> str | None:
        """Return why the account of this name should not have this password, or None."""
        if not SHORTEST <= len(password) <= LONGEST:
            return f"A password has {SHORTEST} to {LONGEST} characters."
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _too_easy, password, name)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Tell whether the password is the one that was hashed.

        Without a hash (no such user) it takes as long and answers no, so that the time tells
        nobody which names exist.
        """
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(
            self._threads, self._verify, password, password_hash or self._nobody
        )
        return right and password_hash is not None

    def outdated(self, password_hash: str) -> bool:
        """Tell whether the hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except VerificationError:
            return False


def _hash_of_nothing(hasher: PasswordHasher) -> str:
    """Return a hash that takes as long to check as others and fits no password.

    It is made up, not computed: every start would take the time of a login.
    """
    salt, digest = (
        b64encode(os.urandom(length)).decode().rstrip("=")
        for length in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${costs}${salt}${digest}"


def _too_easy(password: str, name: str) -> str | None:
    # Its word lists take 10 MB and 0.1 s: only a process that needs them loads them.
    from zxcvbn import zxcvbn

    result = zxcvbn(password[:72], user_inputs=[name, NAME])
    if result["score"] >= STRENGTH:
        return None
    reason = result["feedback"]["warning"] or "This password is easy to guess."
    return f"{reason} Take several words that do not belong together."
