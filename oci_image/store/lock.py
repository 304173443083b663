"""
Locks between processes, and files that are replaced as a whole.

A lock is an ``flock`` on a file that stays: the kernel drops it when its holder dies, so none is ever stale,
and because each use opens the file anew it also excludes the other threads of this process. Governing source:
flock(2).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .problems import store_problem


@contextmanager
def file_lock(path: str, *, shared: bool = False) -> Iterator[None]:
    """
    Hold the lock that the file stands for; blocks until it is free. Not reentrant.

    Raises:
        StoreProblem: the file cannot be made or locked.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as problem:
        raise store_problem(problem, path, "open the lock") from problem
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        except OSError as problem:
            raise store_problem(problem, path, "take the lock") from problem
        try:
            yield
        finally:
            # Not only closed: a child that was forked meanwhile would keep the lock through its copy.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def sync_directory(path: str) -> None:
    """Make names that were created, renamed or removed in the directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: str, data: bytes, *, temporary: str, durable: bool = True) -> None:
    """
    Put a file with these bytes at the path: readers see the old file or the new one, never a part.

    Args:
        path: where the file shall be.
        data: its bytes.
        temporary: a path on the same filesystem that nobody else writes meanwhile; nothing is left there.
        durable: whether the change must have reached the disk on return.

    Raises:
        OSError: the old file is still there, as it was.
    """
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        sync_directory(os.path.dirname(path))
