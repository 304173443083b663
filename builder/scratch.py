"""
Temporary directories of a process in the state directory, and tidying up after processes that died.

Each user of this file has one directory ``state/tmp/build-<random>`` and holds a lock on it (flock(2)), which
the kernel drops with the process; so leftovers are told from directories at work without trusting process
ids, which mean nothing between pid namespaces.
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from contextlib import suppress

from oci_image.layer.remove import remove_tree
from oci_image.store.problems import store_problem

_PREFIX = "build-"


class Scratch:
    """
    A place for temporary files and trees on the filesystem of the state directory.

    Made at the first use, when leftovers of dead processes are removed, too.
    """

    def __init__(self, state: str) -> None:
        self._parent = os.path.join(state, "tmp")
        self._directory: str | None = None
        self._finalizer: weakref.finalize[[str, int, int], Scratch] | None = None
        self._count = 0
        self._lock = threading.Lock()

    def new_path(self, name: str) -> str:
        """
        A path that nobody uses, beginning with the name; nothing is there.

        Raises:
            StoreProblem: the directory cannot be made.
        """
        with self._lock:
            if self._directory is None:
                try:
                    self._directory = self._make()
                except OSError as problem:
                    raise store_problem(problem, self._parent, "make a temporary directory") from problem
            self._count += 1
            return os.path.join(self._directory, f"{name}-{self._count}")

    def new_directory(self, name: str) -> str:
        """A new empty directory, only for us."""
        path = self.new_path(name)
        try:
            os.mkdir(path, 0o700)
        except OSError as problem:
            raise store_problem(problem, path, "make a temporary directory") from problem
        return path

    def close(self) -> None:
        """Remove everything; idempotent, and done by itself at the latest when the process ends."""
        with self._lock:
            self._directory = None
            if self._finalizer is not None:
                self._finalizer()

    def _make(self) -> str:
        os.makedirs(self._parent, exist_ok=True)
        _remove_leftovers(self._parent)
        while True:
            path = os.path.join(self._parent, _PREFIX + os.urandom(6).hex())
            os.mkdir(path, 0o700)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            # Between mkdir and here another process may have taken it for a leftover.
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                self._finalizer = weakref.finalize(self, _discard, path, descriptor, os.getpid())
                return path
            os.close(descriptor)


def remove_leftovers(state: str) -> None:
    """Remove what processes that died left in the state directory; nothing that is not possible is told."""
    with suppress(OSError):
        _remove_leftovers(os.path.join(state, "tmp"))


def _remove_leftovers(parent: str) -> None:
    with os.scandir(parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(_PREFIX)]
    for name in names:
        path = os.path.join(parent, name)
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if _lock(descriptor):
                    remove_tree(path)
            finally:
                os.close(descriptor)


def _discard(path: str, descriptor: int, process: int) -> None:
    if os.getpid() != process:
        return  # a forked child has a copy of everything, but the directory is its parent's
    try:
        remove_tree(path)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
