"""Passwords: normalized everywhere, hashed with argon2id outside the event loop."""

import asyncio
import math
import os
import re
import time
import unicodedata
import weakref
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from argon2.low_level import ARGON2_VERSION

from .. import NAME
from ..runtime.translations import N_
from .errors import AccountError, Busy

SHORTEST = 12
LONGEST = 128
# On zxcvbn's scale from 0 to 4: 3 takes an attacker who has the hash at least 10^8 guesses.
STRENGTH = 3
# zxcvbn's time grows with the square of the length and with the possible readings of l33t
# characters. This much work takes about 50 ms; of a longer password only the beginning is scored.
SCORED_CHARACTERS = 72
SCORED_WORK = 20_000
# A request that would wait longer for a thread is refused at once.
QUEUE_SECONDS = 2.0

Result = TypeVar("Result")


def prepare(password: str) -> str:
    """Normalize a password before it is hashed, by RFC 8265.

    Some keyboards send an accented letter as one character, others as two.
    """
    spaced = (" " if unicodedata.category(char) == "Zs" else char for char in password)
    return unicodedata.normalize("NFC", "".join(spaced))


class Passwords:
    """Hashes and checks passwords in threads, as many at a time as there are processors.

    A hash takes about 50 ms and 64 MiB (RFC 9106, second recommended option); more threads would
    only use more memory.
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._workers = os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="password")
        self._places = 0
        self._waiting: set[asyncio.Task[Any]] = set()
        self._given_up: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        # A moving average: other processes may use the processors, too.
        self._job_seconds = 0.1
        # zxcvbn keeps the words of the account in a global: one password at a time.
        self._scoring = asyncio.Lock()
        self._decoy_hash = _make_decoy_hash(self._hasher)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in the queue during the block. Raises Busy if the wait would be too long."""
        if self._places * self._job_seconds / self._workers > QUEUE_SECONDS:
            raise Busy
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    def give_up(self, task: asyncio.Task[Any]) -> None:
        """Cancel this task when it waits for a thread, now or later.

        It is not cancelled elsewhere: a cancelled transaction can leave the database locked.
        """
        self._given_up.add(task)
        if task in self._waiting:
            task.cancel()

    async def hash(self, password: str) -> str:
        """Return the hash of a password, with its salt and parameters."""
        return await self._run(self._hasher.hash, prepare(password))

    async def new_hash(self, password: str, name: str) -> str:
        """Return the hash of a new password for this account. Raises AccountError if it is bad."""
        password = prepare(password)
        # As in ASVS 2.1.1, several spaces in a row count as one.
        if len(password) > LONGEST or len(re.sub(" +", " ", password)) < SHORTEST:
            raise AccountError(
                N_("A password has {shortest} to {longest} characters."),
                shortest=SHORTEST,
                longest=LONGEST,
            )
        if any(
            unicodedata.category(char) in _UNFIT or char == _BYTE_ORDER_MARK for char in password
        ):
            raise AccountError(N_("A password has no control characters and no byte-order mark."))
        async with self._scoring:
            if problem := await self._run(_too_easy, password, name):
                raise AccountError(problem, N_("Take several words that do not belong together."))
        return await self.hash(password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Return whether the password matches the hash.

        Without a hash (no such user) the answer is no after the same time, so that the time does
        not reveal which names exist.
        """
        right = await self._run(self._verify, prepare(password), password_hash or self._decoy_hash)
        return right and password_hash is not None

    def outdated(self, password_hash: str) -> bool:
        """Return whether the hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, job: Callable[..., Result], *arguments: object) -> Result:
        """Run the job in a thread; if the client leaves before it starts, it is dropped."""
        task = asyncio.current_task()
        assert task is not None
        if task in self._given_up:
            raise asyncio.CancelledError
        self._waiting.add(task)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._timed, job, *arguments)
        finally:
            self._waiting.discard(task)

    def _timed(self, job: Callable[..., Result], *arguments: object) -> Result:
        began = time.monotonic()
        try:
            return job(*arguments)
        finally:
            self._job_seconds += (time.monotonic() - began - self._job_seconds) / 8

    def _verify(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, UnicodeEncodeError):
            return False


# Control characters, lone surrogates, unassigned characters, line and paragraph separators.
_UNFIT = {"Cc", "Cs", "Cn", "Zl", "Zp"}
_BYTE_ORDER_MARK = "\ufeff"


def _make_decoy_hash(hasher: PasswordHasher) -> str:
    """Return a hash that matches no password and takes as long to check as any other.

    It is random, not computed: computing it would add the time of a login to each start.
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

    result = zxcvbn(_scored(password), user_inputs=[name, NAME])
    if result["score"] >= STRENGTH:
        return None
    warning: str = result["feedback"]["warning"]
    return warning or N_("This password is easy to guess.")


def _scored(password: str) -> str:
    """Return the beginning of the password that can be scored in bounded time."""
    from zxcvbn.matching import L33T_TABLE

    password = password[:SCORED_CHARACTERS]
    while True:
        readings = math.prod(
            max(1, len(set(stand_ins) & set(password))) for stand_ins in L33T_TABLE.values()
        )
        if readings * len(password) ** 2 <= SCORED_WORK:
            return password
        password = password[:-1]
