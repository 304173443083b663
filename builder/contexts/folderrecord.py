"""
What is known about the files of one directory, and the file that holds such records.

A record is names in order with a stamp and a digest for each, as they lie in the file: an unchanged directory
is recognised by two comparisons of bytes, and of many directories none has to be in memory. The file begins
with a list of the directories and ends with the digest of everything before.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from oci_image.digest import Digest, Hasher
from oci_image.spool import FilePages, Kept, Spool

Xattrs: TypeAlias = tuple[tuple[str, bytes], ...]

STAMP = struct.Struct("=5q")
"""Size, mtime, ctime, inode, mode: a file with an equal stamp is taken to be unchanged."""
DIGEST_SIZE = 32

_MAGIC = b"pybuild-stats 1\n"
_HEADER = struct.Struct("=Q")
_PERMISSIONS = 0o7777
_BLOCK = 1 << 20


def join_names(names: Sequence[str]) -> bytes:
    """File names as they stand in a record."""
    return "\0".join(names).encode("utf-8", "surrogateescape")


def split_names(joined: bytes) -> list[str]:
    """The names of at least one file."""
    return joined.decode("utf-8", "surrogateescape").split("\0")


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
    """What is known about files of one directory; `group` is the digest of all of them."""

    __slots__ = ("_known", "digests", "group", "names", "stamps")

    def __init__(self, names: Kept, stamps: Kept, digests: Kept, group: bytes) -> None:
        self.names = names
        self.stamps = stamps
        self.digests = digests
        self.group = group
        self._known: dict[str, tuple[bytes, bytes]] | None = None

    def is_of(self, names: Kept, stamps: Kept) -> bool:
        """Whether exactly these files have exactly these stamps."""
        if (self.names, self.stamps) == (names, stamps):
            return True
        sizes = (names.size, stamps.size)
        return sizes == (self.names.size, self.stamps.size) and (
            self.stamps.read() == stamps.read() and self.names.read() == names.read()
        )

    @property
    def known(self) -> dict[str, tuple[bytes, bytes]]:
        """Stamp and digest by name; in memory until `forget`."""
        if self._known is None:
            stamps, digests = self.stamps.read(), self.digests.read()
            names = split_names(self.names.read()) if stamps else ()
            self._known = {
                name: (
                    stamps[i * STAMP.size : (i + 1) * STAMP.size],
                    digests[i * DIGEST_SIZE : (i + 1) * DIGEST_SIZE],
                )
                for i, name in enumerate(names)
            }
        return self._known

    def forget(self) -> None:
        """Let `known` take no memory."""
        self._known = None


def read_table(path: str, spool: Spool) -> tuple[dict[str, FolderRecord], dict[str, Xattrs]]:
    """
    The records of a file by directory, and attributes by path.

    Args:
        path: of the file.
        spool: takes its bytes if they are few.

    Raises:
        OSError, ValueError, KeyError, TypeError, IndexError, struct.error: it cannot be used.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    pages = FilePages(file)
    size = os.fstat(file).st_size - DIGEST_SIZE
    whole = Kept(pages, 0, size)
    if size <= _BLOCK:
        whole = spool.keep(whole.read()) if size > 0 else whole
    hasher = Hasher()
    for start in range(0, size, _BLOCK):
        hasher.update(whole.part(start, min(_BLOCK, size - start)).read())
    if size < 0 or bytes.fromhex(hasher.digest().hex) != pages.read(size, DIGEST_SIZE):
        raise ValueError("damaged")
    start = len(_MAGIC) + _HEADER.size
    head = whole.part(0, start).read()
    if not head.startswith(_MAGIC):
        raise ValueError("of another form")
    (length,) = _HEADER.unpack_from(head, len(_MAGIC))
    index = json.loads(whole.part(start, length).read())
    start += length
    folders: dict[str, FolderRecord] = {}
    for folder, names, count in index["folders"]:
        stamps, digests = count * STAMP.size, count * DIGEST_SIZE
        group = start + names + stamps + digests
        folders[folder] = FolderRecord(
            whole.part(start, names),
            whole.part(start + names, stamps),
            whole.part(start + names + stamps, digests),
            whole.part(group, DIGEST_SIZE).read(),
        )
        start = group + DIGEST_SIZE
    if start != size:
        raise ValueError("damaged")
    xattrs = {
        path: tuple((str(name), bytes.fromhex(value)) for name, value in pairs)
        for path, pairs in index["xattrs"].items()
    }
    return folders, xattrs


def write_table(path: str, folders: dict[str, FolderRecord], xattrs: dict[str, Xattrs]) -> None:
    """
    Write what `read_table` reads.

    Raises:
        OSError: it cannot be written.
    """
    hasher = Hasher()
    with open(path, "wb", buffering=_BLOCK) as file:
        for part in _parts(folders, xattrs):
            hasher.update(part)
            file.write(part)
        file.write(bytes.fromhex(hasher.digest().hex))


def _parts(folders: dict[str, FolderRecord], xattrs: dict[str, Xattrs]) -> Iterator[bytes]:
    index = {
        "folders": [
            [path, record.names.size, record.stamps.size // STAMP.size] for path, record in folders.items()
        ],
        "xattrs": {path: [[n, value.hex()] for n, value in pairs] for path, pairs in xattrs.items()},
    }
    encoded = json.dumps(index).encode()
    yield _MAGIC + _HEADER.pack(len(encoded)) + encoded
    for record in folders.values():
        yield record.names.read() + record.stamps.read() + record.digests.read() + record.group
