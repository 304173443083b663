"""
Locks between builds that an event loop can wait for.

The same kind of lock as that of the stores (flock(2) on a file that stays), taken without blocking a thread,
so that a cancelled build stops waiting at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_FIRST_WAIT = 0.01
_LONGEST_WAIT = 0.25


@asynccontextmanager
async def exclusive(path: str, *, shared: bool = False) -> AsyncIterator[bool]:
    """
    Hold the lock that a file stands for; gives whether somebody else had to be waited for.

    A shared lock keeps only those out who do not share.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = _opened(path)
    try:
        waited = False
        delay = _FIRST_WAIT
        while not _taken(descriptor, shared=shared):
            waited = True
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_WAIT)
        try:
            yield waited
        finally:
            # Not only closed: a child that was forked meanwhile would keep the lock through its copy.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


class HeldLock:
    """A lock that is held until `close`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Let it go; idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def try_exclusive(path: str) -> HeldLock | None:
    """
    The lock that a file stands for, if nobody has it.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = _opened(path)
    if _taken(descriptor):
        return HeldLock(descriptor)
    os.close(descriptor)
    return None


def _opened(path: str) -> int:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _taken(descriptor: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
