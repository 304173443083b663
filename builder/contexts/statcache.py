"""
The stat cache: what is known about files of build contexts, so that unchanged ones are not read again.

One file per context root, one record per directory. A file is trusted only while size, mtime, ctime, inode
and mode are all the same; since setting an extended attribute moves the ctime, the attributes are remembered
with the content. Files that were touched less than two seconds before they were read are never remembered: a
later change within the granularity of the clock would be invisible (the "racy" rule of git's index). A file
that cannot be read or does not have the digest at its end counts as empty, and losing it costs time only.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Container, Iterator
from typing import Protocol

from oci_image.digest import Digest
from oci_image.errors import StoreProblem
from oci_image.spool import Spool

from .folderrecord import (
    STAMP,
    FolderRecord,
    FolderRecords,
    Xattrs,
    group_digest,
    join_names,
    read_table,
    write_table,
)

RACY_NS = 2_000_000_000
INODE_BITS = 2**63 - 1
"""Inode numbers are unsigned; the highest bit does not fit into a stamp."""


def stamp_of(status: os.stat_result) -> bytes:
    """The stamp of a file."""
    return STAMP.pack(
        status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & INODE_BITS, status.st_mode
    )


class Listed(Protocol):
    """Directories that were read, each with all its names."""

    def get(self, path: str, /) -> Container[str] | None:
        """The names in a directory; None if it was not read."""
        ...

    def __contains__(self, path: object, /) -> bool:
        """Whether a directory was read."""
        ...


class StatTable:
    """
    What is known about the files below one root; used by one thread.

    `folders` maps a directory to its record, `xattrs` holds the few paths that have extended attributes;
    `spool` keeps what belongs to records.
    """

    def __init__(self, path: str, folders: FolderRecords, xattrs: dict[str, Xattrs], spool: Spool) -> None:
        self.path = path
        self.folders = folders
        self.xattrs = xattrs
        self.spool = spool
        self._fresh: dict[str, dict[str, tuple[bytes, bytes]]] = {}
        self._unstable: set[str] = set()
        # Directories with files that were too young when they were read, and the age that can be trusted.
        self._racy: dict[str, int] = {}
        self._outdated: set[str] = set()
        self._grown = False

    def digest(self, directory: str, name: str, stamp: bytes) -> bytes | None:
        """The raw digest of a file, if it is known and still has this stamp."""
        known = self._fresh.get(directory, {}).get(name)
        if known is None and (record := self.folders.get(directory)) is not None:
            known = record.known.get(name)
        return known[1] if known is not None and known[0] == stamp else None

    def remember(self, path: str, stamp: bytes, digest: bytes, xattrs: Xattrs, *, read_at: int) -> None:
        """Take what was found out about a file that was read at the time `read_at` (ns since the epoch)."""
        directory, _, name = path.rpartition("/")
        self._fresh.setdefault(directory, {})[name] = (stamp, digest)
        self._outdated.add(directory)
        self.xattrs.pop(path, None)
        if xattrs:
            self.xattrs[path] = xattrs
        _, mtime, ctime, _, _ = STAMP.unpack(stamp)
        self._unstable.discard(path)
        if max(mtime, ctime) > read_at - RACY_NS:
            self._unstable.add(path)

    def knows(self, directory: str) -> bool:
        """Whether anything is known about files of a directory."""
        return directory in self.folders or directory in self._fresh

    def has_xattrs(self, directory: str) -> bool:
        """Whether a file of a directory has extended attributes."""
        return any(path.rpartition("/")[0] == directory for path in self.xattrs)

    def remember_folder(self, directory: str, record: FolderRecord, *, read_at: int) -> None:
        """
        Take the record of a directory of which nothing was known, and in which nothing has attributes.

        `read_at` is the time when the first of its files was read.
        """
        self.folders[directory] = record
        self._grown = True
        if _youngest(record.stamps.read()) > read_at - RACY_NS:
            self._racy[directory] = read_at - RACY_NS
            self._outdated.add(directory)

    def outdated(self, directory: str) -> None:
        """Let the record of a directory be made again when the table is saved."""
        if directory in self.folders:
            self._outdated.add(directory)

    @property
    def changed(self) -> bool:
        """Whether there is something to save."""
        return self._grown or bool(self._outdated)

    def save(self, listed: Listed) -> None:
        """
        Write everything that may be trusted, atomically; a no-op when nothing changed, never an error.

        Args:
            listed: each directory that was read, with all its names: what is not among them is gone.
        """
        if not self.changed:
            return
        for directory in self._outdated:
            self.folders[directory] = self._made_again(directory, listed.get(directory))
        self._fresh.clear()
        self._racy.clear()
        self._drop_missing(listed)
        temporary = f"{self.path}.{os.getpid()}.tmp"
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            write_table(temporary, self.folders, self.xattrs, self.spool)
            os.replace(temporary, self.path)
        except (OSError, StoreProblem):  # a cache that cannot be written costs time only
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            return
        self._outdated.clear()
        self._grown = False

    def _made_again(self, directory: str, names: Container[str] | None) -> FolderRecord:
        record = self.folders.get(directory)
        known = record.known if record is not None else {}
        latest = self._racy.get(directory)
        if latest is not None:
            known = {name: pair for name, pair in known.items() if _youngest(pair[0]) <= latest}
        known = {**known, **self._fresh.get(directory, {})}
        prefix = f"{directory}/" if directory else ""
        kept = sorted(
            name for name in known if (names is None or name in names) and prefix + name not in self._unstable
        )
        if record is not None:
            record.forget()
        return self.record(
            join_names(kept),
            b"".join(known[name][0] for name in kept),
            b"".join(known[name][1] for name in kept),
        )

    def record(self, names: bytes, stamps: bytes, digests: bytes) -> FolderRecord:
        """A record of files, which is not remembered."""
        keep, group = self.spool.keep, group_digest(names, stamps, digests)
        return FolderRecord(keep(names), keep(stamps), keep(digests), group)

    def _drop_missing(self, listed: Listed) -> None:
        # What was read is there; of everything else the directories above may tell that it is gone.
        gone = [path for path in self.folders if path not in listed and _is_gone(path, listed)]
        for directory in gone:
            self.folders.discard(directory)
        for path in list(self.xattrs):
            directory, _, name = path.rpartition("/")
            if directory not in self.folders or name not in self.folders[directory].known:
                del self.xattrs[path]


def _is_gone(directory: str, listed: Listed) -> bool:
    """Whether a directory that was read lacks this one, or one above it."""
    while directory:
        parent, _, name = directory.rpartition("/")
        names = listed.get(parent)
        if names is not None and name not in names:
            return True
        directory = parent
    return False


def _youngest(stamps: bytes) -> int:
    times: Iterator[int] = (max(stamp[1:3]) for stamp in STAMP.iter_unpack(stamps))
    return max(times)


class StatCache:
    """
    The tables of all context roots, kept in one directory.

    Args:
        directory: created when the first table is saved.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def load(self, root: str) -> StatTable:
        """The table of a context root; an empty one if there is none that can be used."""
        name = Digest.of(os.fsencode(os.path.realpath(root))).hex[:32]
        path = os.path.join(self.directory, name)
        spool = Spool(self.directory)
        try:
            folders, xattrs = read_table(path, spool)
        except (OSError, StoreProblem, ValueError, struct.error, KeyError, TypeError, IndexError):
            folders, xattrs = FolderRecords(spool), {}
        return StatTable(path, folders, xattrs, spool)
