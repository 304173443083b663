"""
The directories of a build context, read under its ignore rules.

Everything is opened relative to the descriptor of the context root, one component at a time and never through
a symbolic link, so that nothing outside the root can be reached. Directories are read once and only when they
are needed; ignored ones are not entered unless a later pattern may take something back.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from dockerfile_grammar.ignorefile import IgnoreMatcher

from .errors import InvalidContext
from .statcache import INODE_BITS, STAMP, Xattrs, stamp_of

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_DIRECTORIES = 64
_TYPE_BITS = 0o170000


class Node(NamedTuple):
    """One name of a directory: the type and mode bits, and for files the stamp."""

    name: str
    mode: int
    size: int
    stamp: bytes
    same: tuple[int, int] | None
    """Device and inode of a file that has several names."""
    rdev: int


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

    def open_file(self, path: str) -> int:
        """
        A new descriptor of the file for reading, which the caller closes.

        Raises:
            OSError: it cannot be opened.
        """
        parent, _, name = path.rpartition("/")
        return os.open(name, _FILE_FLAGS, dir_fd=self.directory(parent))

    def status(self, path: str) -> os.stat_result | None:
        """What lstat says about a path below the root; None if there is nothing."""
        parent, _, name = path.rpartition("/")
        try:
            return os.stat(name or ".", dir_fd=self.directory(parent), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            # A symbolic link on the way (ELOOP) hides what is behind it.
            if problem.errno == errno.ELOOP:
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


class Listing:
    """The part of a context that its ignore rules leave, directory by directory."""

    def __init__(self, directories: OpenDirectories, matcher: IgnoreMatcher | None) -> None:
        self.directories = directories
        self.matcher = matcher if matcher is not None and matcher.patterns else None
        self._children: dict[str, dict[str, Node]] = {}
        self.directory_xattrs: dict[str, Xattrs] = {}

    @property
    def listed(self) -> Mapping[str, Mapping[str, Node]]:
        """The directories that were read so far, with their names."""
        return self._children

    def children(self, directory: str) -> dict[str, Node]:
        """
        The visible names of a directory, sorted ("" is the root).

        Raises:
            InvalidContext: it cannot be read.
        """
        known = self._children.get(directory)
        if known is None:
            known = self._children[directory] = self._scan(directory)
        return known

    def node(self, path: str) -> Node | None:
        """What is at a path, without following symbolic links; None for nothing and for ignored things."""
        parent, _, name = path.rpartition("/")
        if parent in self._children:
            return self._children[parent].get(name)
        status = self.directories.status(path)
        if status is None or stat.S_ISSOCK(status.st_mode):
            return None
        ignored = bool(path) and self.matcher is not None and self.matcher.is_ignored(path)
        if ignored and not (stat.S_ISDIR(status.st_mode) and self._shows_through(path)):
            return None
        return _node(name, status)

    def _scan(self, directory: str) -> dict[str, Node]:
        half_hidden: list[str] = []
        try:
            descriptor = self.directories.directory(directory)
            self.directory_xattrs[directory] = read_xattrs(descriptor) if directory else ()
            nodes = self._read(directory, descriptor, half_hidden)
        except OSError as problem:
            raise InvalidContext(
                f"cannot read {directory or 'the root'} of the build context: {problem.strerror}",
                hint="exclude it with .dockerignore if the build does not need it",
            ) from problem
        for name in half_hidden:
            if not self._shows_through(f"{directory}/{name}" if directory else name):
                del nodes[name]
        return dict(sorted(nodes.items()))

    def _read(self, directory: str, descriptor: int, half_hidden: list[str]) -> dict[str, Node]:
        """Read a directory once; written for contexts of very many files."""
        nodes: dict[str, Node] = {}
        prefix = f"{directory}/" if directory else ""
        ignored = self.matcher.is_ignored if self.matcher is not None else None
        make, pack = tuple.__new__, STAMP.pack
        with os.scandir(descriptor) as items:
            for item in items:
                name = item.name
                if ignored is not None and ignored(prefix + name):
                    if not item.is_dir(follow_symlinks=False):
                        continue
                    half_hidden.append(name)
                try:
                    st = item.stat(follow_symlinks=False)
                except FileNotFoundError:  # it went away while the directory was read
                    continue
                mode, size = st.st_mode, st.st_size
                if mode & _TYPE_BITS == stat.S_IFREG and st.st_nlink == 1:
                    # What `_node` does, without its calls.
                    stamp = pack(size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino & INODE_BITS, mode)
                    nodes[name] = make(Node, (name, mode, size, stamp, None, 0))
                elif mode & _TYPE_BITS != stat.S_IFSOCK:
                    nodes[name] = _node(name, st)
        return nodes

    def _shows_through(self, directory: str) -> bool:
        """Whether something below an ignored directory is visible, so that the directory itself is too."""
        return (
            self.matcher is not None
            and self.matcher.may_reinclude_below(directory)
            and bool(self.children(directory))
        )


def _node(name: str, status: os.stat_result) -> Node:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        same = (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
        return Node(name, mode, status.st_size, stamp_of(status), same, 0)
    return Node(name, mode, 0, b"", None, status.st_rdev)


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
