"""
User names and passwords of an htpasswd file.

Invariants: only bcrypt entries are used; the costly comparison runs in a thread that stands back behind all
others, and takes as long for an unknown user; a success is remembered for a short time by a keyed digest,
never the password itself; a file that changed is read again, and one that became unreadable leaves the last
good entries in force.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from oci_image.digest import Digest

from ..errors import InvalidConfiguration

_LOG = logging.getLogger(__name__)
_PREFIXES = ("$2a$", "$2b$", "$2y$")
_REMEMBER_SECONDS = 300.0
_REMEMBER_LIMIT = 10_000
_NICENESS = 5
_BCRYPT_BYTES = 72  # the algorithm ignores what follows, and htpasswd(1) cuts there


def parse(text: str) -> dict[str, str]:
    """
    The entries of an htpasswd file.

    Raises:
        InvalidConfiguration: a line is no bcrypt entry.
    """
    entries: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        user, colon, encoded = stripped.partition(":")
        if not colon or not user or not encoded.startswith(_PREFIXES) or len(encoded) != 60:
            raise InvalidConfiguration(
                f"line {number} of the htpasswd file is not a bcrypt entry",
                hint="write entries with `htpasswd -B`",
            )
        entries[user] = encoded
    return entries


def _stand_back() -> None:
    """Let this thread run when nothing else wants to: guessers must not slow down everybody else."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class PasswordFile:
    """
    The passwords of a file; `check` says whether one is right.

    Raises:
        InvalidConfiguration: the file cannot be used, or bcrypt is not installed.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            import bcrypt
        except ImportError as problem:
            raise InvalidConfiguration(
                "htpasswd authentication needs the package bcrypt",
                hint="install the extra: pip install 'pybuild[htpasswd]'",
            ) from problem
        self._bcrypt = bcrypt
        self._threads = ThreadPoolExecutor(
            os.cpu_count() or 1, thread_name_prefix="passwords", initializer=_stand_back
        )
        self._path = path
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._remembered: dict[bytes, float] = {}
        self._entries: dict[str, str] = {}
        self._dummy = ""
        self._version: tuple[int, int, int] | None = None
        try:
            self._load()
        except OSError as problem:
            raise InvalidConfiguration(f"cannot read {path}: {problem.strerror}") from problem

    async def check(self, user: str, password: str) -> bool:
        """Whether the password is that of the user."""
        self._reload()
        encoded = self._entries.get(user)
        secret = password.encode()
        key = hmac.digest(
            self._secret, b"\0".join([user.encode(), (encoded or "").encode(), secret]), "sha256"
        )
        if encoded is not None and self._remembered.get(key, 0.0) > self._clock():
            return True
        compare = partial(self._compare, secret, encoded or self._dummy)
        right = await asyncio.get_running_loop().run_in_executor(self._threads, compare)
        if encoded is None or not right:
            return False
        if len(self._remembered) >= _REMEMBER_LIMIT:
            self._remembered.clear()
        self._remembered[key] = self._clock() + _REMEMBER_SECONDS
        return True

    def stamp(self, user: str) -> str:
        """What changes with the password of a user, and does not tell it; empty for nobody."""
        self._reload()
        encoded = self._entries.get(user)
        return "" if encoded is None else Digest.of(f"{user}:{encoded}".encode()).hex[:32]

    def _compare(self, secret: bytes, encoded: str) -> bool:
        try:
            return self._bcrypt.checkpw(secret[:_BCRYPT_BYTES], encoded.encode())
        except ValueError:  # a NUL in the password
            return False

    def _reload(self) -> None:
        try:
            self._load()
        except (OSError, InvalidConfiguration) as problem:
            _LOG.warning(
                "the htpasswd file cannot be read again, its last entries stay in force: %s", problem
            )

    def _load(self) -> None:
        status = os.stat(self._path)
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        if version == self._version:
            return
        with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
            entries = parse(file.read())
        cost = max((int(encoded[4:6]) for encoded in entries.values() if encoded[4:6].isdigit()), default=10)
        if encoded := self._dummy:
            cost = max(cost, int(encoded[4:6]))
        if not self._dummy or int(self._dummy[4:6]) != cost:
            salt = self._bcrypt.gensalt(rounds=min(max(cost, 4), 14))
            self._dummy = self._bcrypt.hashpw(secrets.token_hex(8).encode(), salt).decode()
        self._entries = entries
        self._remembered.clear()
        self._version = version
