"""
The directories of a build context, read under its ignore rules.

Directories are read once and only when they are needed; ignored ones are not entered unless a later pattern
may take something back.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

from dockerfile_grammar.ignorefile import IgnoreMatcher
from oci_image.spool import Spool

from ..errors import InvalidContext
from ..opening import OpenDirectories, read_xattrs
from .folder import Folder, Folders, Node
from .folderrecord import STAMP
from .statcache import INODE_BITS, stamp_of

_TYPE_BITS = 0o170000


class Looked(NamedTuple):
    """Everything that was looked at: directories that were read, and single paths in others."""

    folders: Folders | Mapping[str, Folder]
    paths: Mapping[str, Node | None]


class _Found(NamedTuple):
    """What is in a directory; `half_hidden` are ignored directories that may have something visible below."""

    stamps: dict[str, bytes]
    linked: dict[str, tuple[int, int]]
    directories: dict[str, int]
    others: dict[str, Node]
    hidden: list[str]
    half_hidden: list[str]


class Listing:
    """
    The part of a context that its ignore rules leave, directory by directory.

    Args:
        directories: opens what is in the context.
        matcher: what is left out.
        spool: keeps what was read.
    """

    def __init__(self, directories: OpenDirectories, matcher: IgnoreMatcher | None, spool: Spool) -> None:
        self.directories = directories
        self.spool = spool
        self.matcher = matcher if matcher is not None and matcher.patterns else None
        self._folders = Folders(spool)
        self._asked: dict[str, Node | None] = {}
        self._searched: Folder | None = None

    @property
    def listed(self) -> Folders:
        """The directories that were read so far."""
        return self._folders

    @property
    def looked(self) -> Looked:
        """What was looked at so far; of single paths those in directories that had not been read then."""
        return Looked(self._folders, self._asked)

    def folder(self, directory: str) -> Folder:
        """
        The visible content of a directory ("" is the root).

        Raises:
            InvalidContext: it cannot be read.
        """
        known = self._folders.get(directory)
        if known is None:
            known = self._scan(directory)
        return known

    def node(self, path: str) -> Node | None:
        """What is at a path, without following symbolic links; None for nothing and for ignored things."""
        parent, _, name = path.rpartition("/")
        folder = self._folders.get(parent)
        if folder is not None:
            if folder is not self._searched and name not in folder.directories:
                if self._searched is not None:
                    self._searched.forget()
                self._searched = folder
            return folder.node(name)
        node = self._asked[path] = self._looked_at(path)
        return node

    def _looked_at(self, path: str) -> Node | None:
        status = self.directories.status(path)
        if status is None or stat.S_ISSOCK(status.st_mode):
            return None
        ignored = bool(path) and self.matcher is not None and self.matcher.is_ignored(path)
        if ignored and not (stat.S_ISDIR(status.st_mode) and self._shows_through(path)):
            return None
        if stat.S_ISREG(status.st_mode):
            return Node(status.st_mode, stamp_of(status))
        return Node(status.st_mode, rdev=status.st_rdev)

    def _scan(self, directory: str) -> Folder:
        try:
            descriptor = self.directories.directory(directory)
            xattrs = read_xattrs(descriptor) if directory else ()
            found = self._read(directory, descriptor)
        except OSError as problem:
            raise InvalidContext(
                f"cannot read {directory or 'the root'} of the build context: {problem.strerror}",
                hint="exclude it with .dockerignore if the build does not need it",
            ) from problem
        gone = [
            name
            for name in found.half_hidden
            if not self._shows_through(f"{directory}/{name}" if directory else name)
        ]
        for name in gone:
            del found.directories[name]
        return self._folders.add(
            directory,
            found.stamps,
            linked=found.linked,
            directories=found.directories,
            others=found.others,
            xattrs=xattrs,
            hidden=(*found.hidden, *(f"{name}/" for name in gone)),
        )

    def _read(self, directory: str, descriptor: int) -> _Found:
        """Read a directory once; written for contexts of very many files."""
        stamps: dict[str, bytes] = {}
        linked: dict[str, tuple[int, int]] = {}
        directories: dict[str, int] = {}
        others: dict[str, Node] = {}
        hidden: list[str] = []
        half_hidden: list[str] = []
        prefix = f"{directory}/" if directory else ""
        ignored = self.matcher.is_ignored if self.matcher is not None else None
        pack, type_bits, regular, inode_bits = STAMP.pack, _TYPE_BITS, stat.S_IFREG, INODE_BITS
        with os.scandir(descriptor) as items:
            for item in items:
                name = item.name
                if ignored is not None and ignored(prefix + name):
                    if not item.is_dir(follow_symlinks=False):
                        hidden.append(name)
                        continue
                    half_hidden.append(name)
                try:
                    st = item.stat(follow_symlinks=False)
                except FileNotFoundError:  # it went away while the directory was read
                    continue
                mode = st.st_mode
                kind = mode & type_bits
                if kind == regular:
                    # What `stamp_of` does, without the call.
                    stamps[name] = pack(
                        st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino & inode_bits, mode
                    )
                    if st.st_nlink > 1:
                        linked[name] = (st.st_dev, st.st_ino)
                elif kind == stat.S_IFDIR:
                    directories[name] = mode
                elif kind != stat.S_IFSOCK:
                    others[name] = Node(mode, rdev=st.st_rdev)
        return _Found(stamps, linked, directories, others, hidden, half_hidden)

    def _shows_through(self, directory: str) -> bool:
        """Whether something below an ignored directory is visible, so that the directory itself is too."""
        return (
            self.matcher is not None
            and self.matcher.may_reinclude_below(directory)
            and bool(self.folder(directory))
        )
