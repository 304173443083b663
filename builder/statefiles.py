"""What lies in the state directory: entries of its folders, their sizes, and whether they are locked."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager


def entries(state: str, folder: str) -> Iterator[tuple[str, str]]:
    """Name and path of everything in a folder of the state directory, sorted."""
    path = os.path.join(state, folder)
    for name in sorted(os.listdir(path)) if os.path.isdir(path) else []:
        yield name, os.path.join(path, name)


def tree_size(path: str) -> int:
    """The bytes of a file or of all files below a directory, a hard-linked one once; what is gone has 0."""
    if not os.path.isdir(path) or os.path.islink(path):
        return _size(path)[1]
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            inode, size = _size(os.path.join(folder, name))
            if inode not in seen:
                seen.add(inode)
                total += size
    return total


def _size(path: str) -> tuple[tuple[int, int], int]:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return (0, 0), 0
    return (found.st_dev, found.st_ino), found.st_size


def is_locked(path: str) -> bool:
    """Whether somebody holds the lock that a file stands for (flock(2)), alone or with others."""
    with unless_locked(path) as is_free:
        return not is_free


@contextmanager
def unless_locked(path: str) -> Iterator[bool]:
    """Hold the lock that a file stands for, if there is such a file; False where somebody else has it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
