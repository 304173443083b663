"""
The stat cache: what is known about files of build contexts, so that unchanged ones are not read again.

One file per context root. A record is trusted only while size, mtime, ctime, inode and mode are all the same;
since setting an extended attribute moves the ctime, the attributes are remembered with the content. Files
that were touched less than two seconds before they were read are never remembered: a later change within the
granularity of the clock would be invisible (the "racy" rule of git's index). A file that cannot be read or
does not have the digest at its end counts as empty, and losing it costs time only.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Container, Mapping
from typing import TypeAlias

from oci_image.digest import Digest

Xattrs: TypeAlias = tuple[tuple[str, bytes], ...]

RACY_NS = 2_000_000_000
STAMP = struct.Struct("=5q")
"""Size, mtime, ctime, inode, mode: a file with an equal stamp is taken to be unchanged."""
INODE_BITS = 2**63 - 1
"""Inode numbers are unsigned; the highest bit does not fit into a stamp."""
DIGEST_SIZE = 32
RECORD_SIZE = STAMP.size + DIGEST_SIZE

_MAGIC = b"pybuild-stats 1\n"
_HEADER = struct.Struct("=3Q")


def stamp_of(status: os.stat_result) -> bytes:
    """The stamp of a file, as it stands in front of a record."""
    return STAMP.pack(
        status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & INODE_BITS, status.st_mode
    )


class StatTable:
    """
    What is known about the files below one root; used by one thread.

    A record is the stamp followed by the raw SHA-256 of the content. `records` maps a path to its record,
    `xattrs` holds the few paths that have extended attributes.
    """

    def __init__(self, path: str, records: dict[str, bytes], xattrs: dict[str, Xattrs]) -> None:
        self.path = path
        self.records = records
        self.xattrs = xattrs
        self._unstable: set[str] = set()
        self._changed = False

    def remember(self, path: str, record: bytes, xattrs: Xattrs, *, read_at: int) -> None:
        """Take what was found out about a file that was read at the time `read_at` (ns since the epoch)."""
        self.records[path] = record
        if xattrs:
            self.xattrs[path] = xattrs
        else:
            self.xattrs.pop(path, None)
        _, mtime, ctime, _, _ = STAMP.unpack_from(record)
        if max(mtime, ctime) > read_at - RACY_NS:
            self._unstable.add(path)
        else:
            self._unstable.discard(path)
        self._changed = True

    def prune(self, listed: Mapping[str, Container[str]]) -> None:
        """Drop records of files that are gone; `listed` maps each directory that was read to its names."""
        gone = []
        for path in self.records:
            directory, _, name = path.rpartition("/")
            names = listed.get(directory)
            if names is not None and name not in names:
                gone.append(path)
        for path in gone:
            del self.records[path]
            self.xattrs.pop(path, None)

    @property
    def changed(self) -> bool:
        """Whether there is something to save."""
        return self._changed

    def save(self) -> None:
        """Write everything that may be trusted, atomically; a no-op when nothing changed, never an error."""
        if not self._changed:
            return
        kept = [path for path in self.records if path not in self._unstable]
        data = _encode(kept, self.records, self.xattrs)
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
        self._changed = False


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
                records, xattrs = _decode(file.read())
        except (OSError, ValueError, struct.error, KeyError, TypeError, IndexError):
            records, xattrs = {}, {}
        return StatTable(path, records, xattrs)


def _encode(paths: list[str], records: dict[str, bytes], xattrs: dict[str, Xattrs]) -> bytes:
    names = b"\0".join(os.fsencode(path) for path in paths)
    attributes = json.dumps(
        {path: [[name, value.hex()] for name, value in xattrs[path]] for path in paths if path in xattrs}
    ).encode()
    header = _HEADER.pack(len(paths), len(names), len(attributes))
    body = b"".join((_MAGIC, header, names, attributes, *(records[path] for path in paths)))
    return body + bytes.fromhex(Digest.of(body).hex)


def _decode(data: bytes) -> tuple[dict[str, bytes], dict[str, Xattrs]]:
    body = data[:-DIGEST_SIZE]
    if not data.startswith(_MAGIC) or bytes.fromhex(Digest.of(body).hex) != data[-DIGEST_SIZE:]:
        raise ValueError("damaged")
    count, names_size, attributes_size = _HEADER.unpack_from(body, len(_MAGIC))
    start = len(_MAGIC) + _HEADER.size
    names = os.fsdecode(body[start : start + names_size]).split("\0") if count else []
    start += names_size
    attributes = json.loads(body[start : start + attributes_size])
    start += attributes_size
    if len(names) != count or len(body) - start != count * RECORD_SIZE:
        raise ValueError("damaged")
    chunks = (body[i : i + RECORD_SIZE] for i in range(start, len(body), RECORD_SIZE))
    xattrs = {
        path: tuple((str(name), bytes.fromhex(value)) for name, value in pairs)
        for path, pairs in attributes.items()
    }
    return dict(zip(names, chunks, strict=True)), xattrs
