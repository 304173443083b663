"""
Opening what is in a build context.

Everything is opened relative to the descriptor of the context root, one component at a time and never through
a symbolic link, so that nothing outside the root can be reached.
"""

from __future__ import annotations

import errno
import os

from .contexts.folderrecord import Xattrs
from .errors import InvalidContext

FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORIES = 64


class OpenDirectories:
    """
    Opens files and directories below a root, keeping descriptors of the directories on the way.

    For one thread; the user closes it.
    """

    def __init__(self, root: str) -> None:
        try:
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as problem:
            raise InvalidContext(
                f"the build context {root} cannot be opened: {problem.strerror}",
                hint="it has to be a directory that you may read",
            ) from problem
        self._open: dict[str, int] = {}

    def directory(self, path: str) -> int:
        """
        A descriptor of the directory, valid until the next call.

        Raises:
            OSError: it cannot be opened; ENOTDIR or ELOOP also for symbolic links on the way.
        """
        known = self._open.get(path)
        if known is not None:
            return known
        above = path
        while above and above not in self._open:
            above = above.rpartition("/")[0]
        descriptor = self._open[above] if above else self._root
        missing = path[len(above) :].lstrip("/")
        for name in missing.split("/") if missing else ():
            above = f"{above}/{name}" if above else name
            opened = os.open(name, _DIRECTORY_FLAGS, dir_fd=descriptor)
            if len(self._open) >= _OPEN_DIRECTORIES:
                self._forget()
            descriptor = self._open[above] = opened
        return descriptor

    def _forget(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def status(self, path: str) -> os.stat_result | None:
        """What lstat says about a path below the root; None if there is nothing."""
        parent, _, name = path.rpartition("/")
        try:
            return os.stat(name or ".", dir_fd=self.directory(parent), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            # A symbolic link on the way (ELOOP) hides what is behind it, and nothing has too long a name.
            if problem.errno in (errno.ELOOP, errno.ENAMETOOLONG):
                return None
            raise

    def read_link(self, path: str) -> str:
        """The target of a symbolic link."""
        parent, _, name = path.rpartition("/")
        return os.readlink(name, dir_fd=self.directory(parent))

    def close(self) -> None:
        """Close all descriptors; idempotent."""
        self._forget()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1


def read_xattrs(descriptor: int) -> Xattrs:
    """
    The extended attributes of an open file that belong into an image, sorted.

    File capabilities, and everything outside the namespaces that the kernel manages for this host only.
    """
    try:
        names = os.listxattr(descriptor)
    except OSError:  # not supported here
        return ()
    if not names:
        return ()
    wanted = [
        name
        for name in sorted(names)
        if name == "security.capability"
        or not name.startswith(("security.", "system.", "trusted.", "user.overlay."))
    ]
    return tuple((name, os.getxattr(descriptor, name)) for name in wanted)
