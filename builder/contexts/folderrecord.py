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
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from oci_image.digest import Digest, Hasher
from oci_image.kept import KeptMap
from oci_image.spool import Column, FilePages, Kept, Pages, Spool

Xattrs: TypeAlias = tuple[tuple[str, bytes], ...]

STAMP = struct.Struct("=5q")
"""Size, mtime, ctime, inode, mode: a file with an equal stamp is taken to be unchanged."""
DIGEST_SIZE = 32

_MAGIC = b"pybuild-stats 1\n"
_HEADER = struct.Struct("=Q")
_PERMISSIONS = 0o7777
_BLOCK = 1 << 20
# The list is JSON, which is read and written item by item.
_FOLDERS, _BETWEEN, _XATTRS = '{"folders": [', ", ", '], "xattrs": '
_PLACES = struct.Struct("=3B5q")


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


def read_both(first: Kept, second: Kept) -> bytes:
    """The bytes of both, at once where the second ones follow the first ones, as they mostly do."""
    if first.pages is second.pages and first.offset + first.size == second.offset:
        return Kept(first.pages, first.offset, first.size + second.size).read()
    return first.read() + second.read()


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
            read_both(self.names, self.stamps) == read_both(names, stamps)
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


class FolderRecords(Mapping[str, FolderRecord]):
    """
    Records by directory, which are put aside, too, and made again for whoever asks.

    Args:
        spool: keeps them.
        pages: where names, stamps and digests lie that are not in the spool.
    """

    def __init__(self, spool: Spool, pages: Pages | None = None) -> None:
        self._packed = KeptMap(spool)
        self.pages: tuple[Pages, ...] = (spool,) if pages is None or pages is spool else (spool, pages)
        # The one that was asked for last.
        self._at_hand: tuple[str, FolderRecord] | None = None

    def __getitem__(self, directory: str) -> FolderRecord:
        if self._at_hand is not None and self._at_hand[0] == directory:
            return self._at_hand[1]
        packed = self._packed.get(directory)
        if packed is None:
            raise KeyError(directory)
        record = self._unpacked(packed)
        self._at_hand = directory, record
        return record

    def __setitem__(self, directory: str, record: FolderRecord) -> None:
        names, stamps, digests = record.names, record.stamps, record.digests
        pages = [self.pages.index(kept.pages) for kept in (names, stamps, digests)]
        offsets = (names.offset, stamps.offset, digests.offset)
        self._packed[directory] = (
            _PLACES.pack(*pages, *offsets, names.size, stamps.size // STAMP.size) + record.group
        )
        self._at_hand = None

    def discard(self, directory: str) -> None:
        """Forget a record, if it is there."""
        self._packed.discard(directory)
        self._at_hand = None

    def __contains__(self, directory: object) -> bool:
        return directory in self._packed

    def __iter__(self) -> Iterator[str]:
        return (directory for directory, _ in self._packed.items())

    def __len__(self) -> int:
        return len(self._packed)

    def each(self) -> Iterator[tuple[str, FolderRecord]]:
        """All of them, each made for the caller; none may be set or discarded meanwhile."""
        return ((directory, self._unpacked(packed)) for directory, packed in self._packed.items())

    def same(self, directory: str, names: Kept, stamps: Kept) -> tuple[Kept, bytes] | None:
        """The digests of a directory with exactly these files and stamps, and the digest of all of them."""
        packed = self._packed.get(directory)
        if packed is None:
            return None
        in_names, in_stamps, in_digests, at_names, at_stamps, at_digests, size, count = _PLACES.unpack_from(
            packed
        )
        if (size, count * STAMP.size) != (names.size, stamps.size):
            return None
        pages = self.pages
        own = Kept(pages[in_names], at_names, size), Kept(pages[in_stamps], at_stamps, stamps.size)
        if read_both(*own) != read_both(names, stamps):
            return None
        return Kept(pages[in_digests], at_digests, count * DIGEST_SIZE), packed[_PLACES.size :]

    def sizes(self) -> Iterator[tuple[str, int, int]]:
        """Of each record the size of all names, and how many there are."""
        for directory, packed in self._packed.items():
            yield directory, *_PLACES.unpack_from(packed)[-2:]

    def _unpacked(self, packed: bytes) -> FolderRecord:
        names, stamps, digests, at_names, at_stamps, at_digests, size, count = _PLACES.unpack_from(packed)
        return FolderRecord(
            Kept(self.pages[names], at_names, size),
            Kept(self.pages[stamps], at_stamps, count * STAMP.size),
            Kept(self.pages[digests], at_digests, count * DIGEST_SIZE),
            packed[_PLACES.size :],
        )


def read_table(path: str, spool: Spool) -> tuple[FolderRecords, dict[str, Xattrs]]:
    """
    The records of a file by directory, and attributes by path.

    Args:
        path: of the file.
        spool: takes its bytes if they are few, and what is said of each directory.

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
    index = whole.part(start, length).read().decode()
    start += length
    records = FolderRecords(spool, whole.pages)
    place = len(_FOLDERS)
    if not index.startswith(_FOLDERS):
        raise ValueError("of another form")
    decode = json.JSONDecoder().raw_decode
    while index[place] != "]":
        (folder, names, count), place = decode(index, place)
        place += 2 * index.startswith(_BETWEEN, place)
        stamps, digests = count * STAMP.size, count * DIGEST_SIZE
        group = start + names + stamps + digests
        records[folder] = FolderRecord(
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
        for path, pairs in json.loads(index[place + len(_XATTRS) : -1]).items()
    }
    return records, xattrs


def write_table(path: str, records: FolderRecords, xattrs: dict[str, Xattrs], spool: Spool) -> None:
    """
    Write what `read_table` reads.

    Args:
        path: of the file.
        records: by directory.
        xattrs: attributes by path.
        spool: keeps what is not yet written.

    Raises:
        OSError: it cannot be written.
    """
    hasher = Hasher()
    with open(path, "wb", buffering=_BLOCK) as file:
        for part in _parts(records, xattrs, spool):
            hasher.update(part)
            file.write(part)
        file.write(bytes.fromhex(hasher.digest().hex))


def _parts(records: FolderRecords, xattrs: dict[str, Xattrs], spool: Spool) -> Iterator[bytes]:
    index, dumps = Column(spool), json.encoder.encode_basestring_ascii
    index.append(_FOLDERS.encode())
    for path, names, count in records.sizes():
        between = _BETWEEN if index.size > len(_FOLDERS) else ""
        index.append(f"{between}[{dumps(path)}, {names}, {count}]".encode())
    by_path = {path: [[n, value.hex()] for n, value in pairs] for path, pairs in xattrs.items()}
    index.append(f"{_XATTRS}{json.dumps(by_path)}}}".encode())
    yield _MAGIC + _HEADER.pack(index.size)
    yield from index.blocks()
    for _, record in records.each():
        yield read_both(record.names, record.stamps)
        yield record.digests.read() + record.group
