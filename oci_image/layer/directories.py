"""
Directories below a root by descriptor, so that no symlink can lead out of it.

Every component is opened from the descriptor of the one above with O_NOFOLLOW. The caller has the tree for
itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable

# O_PATH needs no permission to read the directory, which may have mode 000.
_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEEP = 128


class Directories:
    """
    Opens directories by path and keeps some of them open, since members come in runs of the same parent.

    Args:
        root: an open directory; it stays the caller's.
        make: is called as ``make(parent descriptor, name, exists)`` when a component is missing
            or is something else than a directory; it leaves an empty directory there.
    """

    def __init__(self, root: int, make: Callable[[int, str, bool], None]) -> None:
        self._root = root
        self._make = make
        self._open: dict[str, int] = {"": root}

    def open(self, path: str) -> int:
        """A descriptor (O_PATH) of the directory, valid until the next call of any method."""
        found = self._open.get(path)
        return self._walk(path) if found is None else found

    def forget(self, path: str) -> None:
        """The directory at the path goes away, with all that is below."""
        below = path + "/"
        for known in [known for known in self._open if known == path or known.startswith(below)]:
            os.close(self._open.pop(known))

    def close(self) -> None:
        """Close every descriptor; idempotent."""
        for path, descriptor in self._open.items():
            if path:
                os.close(descriptor)
        self._open = {"": self._root}

    def _walk(self, path: str) -> int:
        if len(self._open) >= _KEEP:
            self.close()
        above = path
        while above not in self._open:
            above = above.rpartition("/")[0]
        descriptor = self._open[above]
        owned = False
        for name in path[len(above) :].strip("/").split("/"):
            above = f"{above}/{name}" if above else name
            try:
                following = self._enter(descriptor, name)
            finally:
                if owned:
                    os.close(descriptor)
            descriptor = following
            # A path with thousands of components must not use up the descriptors of the process.
            owned = len(self._open) >= _KEEP and above != path
            if not owned:
                self._open[above] = descriptor
        return descriptor

    def _enter(self, above: int, name: str) -> int:
        try:
            return os.open(name, _FLAGS, dir_fd=above)
        except FileNotFoundError:
            self._make(above, name, False)
        except NotADirectoryError:
            self._make(above, name, True)
        return os.open(name, _FLAGS, dir_fd=above)
