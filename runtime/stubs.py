"""
Removing the empty files and directories that had to be made for mounts.

Only what is still empty goes, only below the root and through no symlink (CVE-2024-23652 was a cleaner that
followed one), and the parent's times become what they were.
"""

import os
import posixpath
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from . import syscalls as sc

_RESOLVE = sc.RESOLVE_IN_ROOT | sc.RESOLVE_NO_MAGICLINKS | sc.RESOLVE_NO_SYMLINKS


def remove(root: str, made: Sequence[dict[str, Any]]) -> None:
    """Remove what a child reported to have made, the last made first; absent things are fine."""
    if not made:
        return
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for entry in reversed(made):
            for path in reversed(entry["made"]):
                _remove_one(top, path)
            _restore_times(top, entry["parent"], entry["times"])
    finally:
        os.close(top)


def _open(root: int, path: str) -> int:
    return sc.openat2(root, path.lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY, _RESOLVE)


def _remove_one(root: int, path: str) -> None:
    name = posixpath.basename(path)
    with suppress(OSError):
        parent = _open(root, posixpath.dirname(path))
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                os.rmdir(name, dir_fd=parent)
            elif stat.S_ISREG(found.st_mode) and found.st_size == 0:
                os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)


def _restore_times(root: int, path: str, times: Sequence[int]) -> None:
    with suppress(OSError):
        fd = _open(root, path)
        try:
            os.utime(fd, ns=(times[0], times[1]))
        finally:
            os.close(fd)
