"""
A directory on disk as entries, in an order that depends on names alone.

First all names of a directory, sorted by their bytes, then in the same order what each of its subdirectories
holds. So parents come before children, and no more than one directory is open at a time.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import ImageError, StoreProblem
from .entry import Entry, Kind
from .pathsafe import shown
from .whiteouts import OVERLAY_XATTRS

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
}
# Labels of this host (security.selinux, security.ima, …) are no part of an image.
_KEPT = ("user.", "trusted.", "system.posix_acl_")
# With these, the content of a path lies elsewhere.
_INDIRECT = frozenset(prefix + name for prefix in OVERLAY_XATTRS for name in ("redirect", "metacopy"))
_CAPABILITY = "security.capability"


class Found(NamedTuple):
    """One name of a directory, whose descriptor is ``above``, valid until the next step of the walk."""

    path: str
    above: int
    name: str
    status: os.stat_result


def walk(root: str, *, skip: frozenset[str] = frozenset()) -> Iterator[Found]:
    """
    Everything below a directory that nobody changes meanwhile, sockets left out.

    Args:
        root: the directory; it is not among what is found.
        skip: paths below it that are passed over with all that they hold.
    """
    todo = [""]
    while todo:
        directory = todo.pop()
        above = os.open(f"{root}/{directory}", _DIRECTORY)
        try:
            prefix = directory + "/" if directory else ""
            directories = []
            for name, status in _listed(above):
                path = prefix + name
                if path in skip or stat.S_ISSOCK(status.st_mode):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    directories.append(path)
                yield Found(path, above, name, status)
            directories.reverse()
            todo += directories
        finally:
            os.close(above)


def tree_entries(
    root: str, *, stamp: Callable[[float], int] = int, skip: frozenset[str] = frozenset()
) -> Iterator[tuple[Entry, int | None]]:
    """
    Everything below a directory as entries, each file with an open descriptor that is closed at the next
    step.

    Hardlinks among what is found stay hardlinks.

    Args:
        root: the directory; it has no entry itself.
        stamp: makes the time of an entry out of a modification time.
        skip: paths to pass over with all that they hold.

    Raises:
        StoreProblem: something cannot be read.
    """
    entries = Entries(stamp)
    for found in walk(root, skip=skip):
        entry, content = entries.opened(found)
        try:
            yield entry, content
        finally:
            if content is not None:
                os.close(content)


class Entries:
    """Makes entries of what a walk finds, and a hardlink of the second name of an inode."""

    def __init__(self, stamp: Callable[[float], int]) -> None:
        self._stamp = stamp
        self._first: dict[tuple[int, int], str] = {}

    def entry(self, found: Found, content: int | None) -> Entry:
        """The entry of a name; ``content`` is the open descriptor if it is a file."""
        path, above, name, status = found
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        mode = stat.S_IMODE(status.st_mode)
        uid, gid, mtime = status.st_uid, status.st_gid, self._stamp(status.st_mtime)
        if status.st_nlink > 1 and kind is not Kind.DIRECTORY:
            first = self._first.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                return Entry(path, Kind.HARDLINK, mode, uid, gid, mtime, 0, first)
        if kind is Kind.FILE and content is not None:
            return Entry(path, kind, mode, uid, gid, mtime, status.st_size, "", _xattrs(content))
        xattrs = _xattrs(f"/proc/self/fd/{above}/{name}")
        if kind is Kind.SYMLINK:
            return Entry(path, kind, mode, uid, gid, mtime, 0, os.readlink(name, dir_fd=above), xattrs)
        major, minor = (os.major(status.st_rdev), os.minor(status.st_rdev)) if status.st_rdev else (0, 0)
        return Entry(path, kind, mode, uid, gid, mtime, 0, "", xattrs, major, minor)

    def pass_on(self, found: Found, add: Callable[[Entry, int | None], object]) -> Entry:
        """Give the entry of a name to `add`, with the open content if it is the first name of a file."""
        entry, content = self.opened(found)
        try:
            add(entry, content)
        finally:
            if content is not None:
                os.close(content)
        return entry

    def opened(self, found: Found) -> tuple[Entry, int | None]:
        """The entry of a name and, for the first name of a file, its content, which the caller closes."""
        content = None
        try:
            if stat.S_ISREG(found.status.st_mode):
                content = os.open(found.name, _FILE, dir_fd=found.above)
            entry = self.entry(found, content)
        except (OSError, ImageError) as problem:
            if content is not None:
                os.close(content)
            if isinstance(problem, ImageError):
                raise ImageError(f"{shown(found.path)}: {problem}", hint=problem.hint) from None
            raise StoreProblem(f"{shown(found.path)}: cannot be read: {problem.strerror}") from problem
        if content is not None and entry.kind is Kind.HARDLINK:
            os.close(content)
            content = None
        return entry, content


def _listed(directory: int) -> list[tuple[str, os.stat_result]]:
    with os.scandir(directory) as found:
        listed = [(entry.name, entry.stat(follow_symlinks=False)) for entry in found]
    # Surrogates sort above everything, as text; as bytes they do not.
    listed.sort(key=_name_bytes if any(not name.isascii() for name, _ in listed) else _name)
    return listed


def _name(item: tuple[str, os.stat_result]) -> str:
    return item[0]


def _name_bytes(item: tuple[str, os.stat_result]) -> bytes:
    return os.fsencode(item[0])


def _xattrs(place: int | str) -> tuple[tuple[str, bytes], ...]:
    """The attributes that belong to an image."""
    try:
        names = os.listxattr(place) if isinstance(place, int) else os.listxattr(place, follow_symlinks=False)
    except OSError as problem:
        if problem.errno == errno.ENOTSUP:
            return ()
        raise
    if not names:
        return ()
    forbidden = _INDIRECT.intersection(names)
    if forbidden:
        raise ImageError(
            f"the overlay mount used redirect_dir or metacopy ({min(forbidden)})",
            hint="mount with redirect_dir=off,metacopy=off",
        )
    kept = [name for name in sorted(names) if is_kept_xattr(name)]
    if isinstance(place, int):
        return tuple((name, os.getxattr(place, name)) for name in kept)
    return tuple((name, os.getxattr(place, name, follow_symlinks=False)) for name in kept)


def is_kept_xattr(name: str) -> bool:
    """Whether an extended attribute is part of an image: no label of the host and no mark of overlayfs."""
    return name == _CAPABILITY or (name.startswith(_KEPT) and not name.startswith(OVERLAY_XATTRS))
