"""
The stat cache: what is known about files of build contexts, so that unchanged ones are not read again.

One file per context root, one record per directory, so that an unchanged directory is recognised by two
comparisons of bytes. A file is trusted only while size, mtime, ctime, inode and mode are all the same; since
setting an extended attribute moves the ctime, the attributes are remembered with the content. Files that were
touched less than two seconds before they were read are never remembered: a later change within the
granularity of the clock would be invisible (the "racy" rule of git's index). A file that cannot be read or
does not have the digest at its end counts as empty, and losing it costs time only.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Container, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from oci_image.digest import Digest

Xattrs: TypeAlias = tuple[tuple[str, bytes], ...]

RACY_NS = 2_000_000_000
STAMP = struct.Struct("=5q")
"""Size, mtime, ctime, inode, mode: a file with an equal stamp is taken to be unchanged."""
INODE_BITS = 2**63 - 1
"""Inode numbers are unsigned; the highest bit does not fit into a stamp."""
DIGEST_SIZE = 32

_MAGIC = b"pybuild-stats 1\n"
_HEADER = struct.Struct("=Q")
_PERMISSIONS = 0o7777


def stamp_of(status: os.stat_result) -> bytes:
    """The stamp of a file."""
    return STAMP.pack(
        status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & INODE_BITS, status.st_mode
    )


def join_names(names: Sequence[str]) -> bytes:
    """File names as they stand in a record."""
    return "\0".join(names).encode("utf-8", "surrogateescape")


def group_digest(names: bytes, stamps: bytes, digests: bytes) -> bytes:
    """The digest of ordinary files of one directory: names, modes, sizes and content, each framed."""
    parts = []
    position = 0
    encoded = names.split(b"\0") if stamps else ()
    for name, (size, _, _, _, mode) in zip(encoded, STAMP.iter_unpack(stamps), strict=True):
        digest = digests[position : position + DIGEST_SIZE]
        parts.append(b"%o %d %d %s%s" % (mode & _PERMISSIONS, size, len(name), name, digest))
        position += DIGEST_SIZE
    return bytes.fromhex(Digest.of(b"".join(parts)).hex)


class FolderRecord:
    """What is known about files of one directory: names in order, with a stamp and a digest for each."""

    __slots__ = ("_known", "digests", "group", "names", "stamps")

    def __init__(self, names: bytes, stamps: bytes, digests: bytes, group: bytes) -> None:
        self.names = names
        self.stamps = stamps
        self.digests = digests
        self.group = group
        self._known: dict[str, tuple[bytes, bytes]] | None = None

    @property
    def known(self) -> dict[str, tuple[bytes, bytes]]:
        """Stamp and digest by name."""
        if self._known is None:
            names = self.names.decode("utf-8", "surrogateescape").split("\0") if self.stamps else ()
            self._known = {
                name: (
                    self.stamps[i * STAMP.size : (i + 1) * STAMP.size],
                    self.digests[i * DIGEST_SIZE : (i + 1) * DIGEST_SIZE],
                )
                for i, name in enumerate(names)
            }
        return self._known


class StatTable:
    """
    What is known about the files below one root; used by one thread.

    `folders` maps a directory to its record, `xattrs` holds the few paths that have extended attributes.
    """

    def __init__(self, path: str, folders: dict[str, FolderRecord], xattrs: dict[str, Xattrs]) -> None:
        self.path = path
        self.folders = folders
        self.xattrs = xattrs
        self._fresh: dict[str, dict[str, tuple[bytes, bytes]]] = {}
        self._unstable: set[str] = set()
        self._outdated: set[str] = set()
        self._grown = False

    def digest(self, directory: str, name: str, stamp: bytes) -> bytes | None:
        """The raw digest of a file, if it is known and still has this stamp."""
        known = self._fresh.get(directory, {}).get(name)
        if known is None and directory in self.folders:
            known = self.folders[directory].known.get(name)
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
        youngest = max(max(mtime, ctime) for _, mtime, ctime, _, _ in STAMP.iter_unpack(record.stamps))
        if youngest <= read_at - RACY_NS:
            self.folders[directory] = record
            self._grown = True
            return
        prefix = f"{directory}/" if directory else ""
        for name, (stamp, digest) in record.known.items():
            self.remember(prefix + name, stamp, digest, (), read_at=read_at)

    def outdated(self, directory: str) -> None:
        """Let the record of a directory be made again when the table is saved."""
        if directory in self.folders:
            self._outdated.add(directory)

    @property
    def changed(self) -> bool:
        """Whether there is something to save."""
        return self._grown or bool(self._outdated)

    def save(self, listed: Mapping[str, Container[str]]) -> None:
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
        self._drop_missing(listed)
        data = _encode(self.folders, self.xattrs)
        temporary = f"{self.path}.{os.getpid()}.tmp"
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(data)
            os.replace(temporary, self.path)
        except OSError:  # a cache that cannot be written costs time only
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            return
        self._outdated.clear()
        self._grown = False

    def _made_again(self, directory: str, names: Container[str] | None) -> FolderRecord:
        record = self.folders.get(directory)
        known = {**(record.known if record else {}), **self._fresh.get(directory, {})}
        prefix = f"{directory}/" if directory else ""
        kept = sorted(
            name for name in known if (names is None or name in names) and prefix + name not in self._unstable
        )
        stamps = b"".join(known[name][0] for name in kept)
        digests = b"".join(known[name][1] for name in kept)
        joined = join_names(kept)
        return FolderRecord(joined, stamps, digests, group_digest(joined, stamps, digests))

    def _drop_missing(self, listed: Mapping[str, Container[str]]) -> None:
        for directory in list(self.folders):
            below = directory
            while below:
                parent, _, name = below.rpartition("/")
                if parent in listed and name not in listed[parent]:
                    del self.folders[directory]
                    break
                below = parent
        for path in list(self.xattrs):
            directory, _, name = path.rpartition("/")
            if directory not in self.folders or name not in self.folders[directory].known:
                del self.xattrs[path]


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
        try:
            with open(path, "rb") as file:
                folders, xattrs = _decode(file.read())
        except (OSError, ValueError, struct.error, KeyError, TypeError, IndexError):
            folders, xattrs = {}, {}
        return StatTable(path, folders, xattrs)


def _encode(folders: dict[str, FolderRecord], xattrs: dict[str, Xattrs]) -> bytes:
    index = {
        "folders": [
            [path, len(record.names), len(record.stamps) // STAMP.size] for path, record in folders.items()
        ],
        "xattrs": {path: [[n, value.hex()] for n, value in pairs] for path, pairs in xattrs.items()},
    }
    encoded = json.dumps(index).encode()
    parts = [_MAGIC, _HEADER.pack(len(encoded)), encoded]
    for record in folders.values():
        parts += (record.names, record.stamps, record.digests, record.group)
    body = b"".join(parts)
    return body + bytes.fromhex(Digest.of(body).hex)


def _decode(data: bytes) -> tuple[dict[str, FolderRecord], dict[str, Xattrs]]:
    body = data[:-DIGEST_SIZE]
    if not data.startswith(_MAGIC) or bytes.fromhex(Digest.of(body).hex) != data[-DIGEST_SIZE:]:
        raise ValueError("damaged")
    start = len(_MAGIC) + _HEADER.size
    (size,) = _HEADER.unpack_from(body, len(_MAGIC))
    index = json.loads(body[start : start + size])
    start += size
    folders: dict[str, FolderRecord] = {}
    for path, names_size, count in index["folders"]:
        ends = [start]
        for part in (names_size, count * STAMP.size, count * DIGEST_SIZE, DIGEST_SIZE):
            ends.append(ends[-1] + part)
        folders[path] = FolderRecord(*(body[a:b] for a, b in pairwise(ends)))
        start = ends[-1]
    if start != len(body):
        raise ValueError("damaged")
    xattrs = {
        path: tuple((str(name), bytes.fromhex(value)) for name, value in pairs)
        for path, pairs in index["xattrs"].items()
    }
    return folders, xattrs
