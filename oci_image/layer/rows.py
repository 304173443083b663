"""
The rows of an index while its layer is written: columns that are put aside, since there may be very many.

Most layers hold each path once, behind its parent, and no whiteouts or links: for those the columns are the
index, which is saved as it lies. All others are put through the rules of `Placement`.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..kept import KeptMap
from ..spool import Column, Spool
from .entry import Entry, Kind
from .index import LayerIndex, head_of, little
from .whiteouts import PREFIX

_AT_ONCE = 4096
_MARK = PREFIX.encode()


class FileRow(NamedTuple):
    """What a row says of an ordinary file, beside its name and place."""

    mode: int
    uid: int
    gid: int
    mtime: int
    size: int


class IndexRows:
    """
    Takes entries in their order.

    Args:
        spool: where they are put aside; in memory if there is none.
    """

    def __init__(self, spool: Spool | None = None) -> None:
        spool = spool or Spool(os.curdir, most=1 << 62)
        self.count = 0
        self._rare: dict[int, tuple[int, int, tuple[tuple[str, bytes], ...]]] = {}
        # There may be very many directories, too; the latest two that came up are still in memory.
        self._directories = KeptMap(spool)
        self._directories.add("")
        self._at_hand = ("", "")
        self._singles: set[str] = set()
        self._plain = True
        # What was added last is still in memory.
        self._waiting = 0
        self._paths: list[bytes] = []
        self._links: list[bytes] = []
        self._kinds = bytearray()
        self._numbers = _numbers()
        self._saved = [Column(spool) for _ in range(3 + len(self._numbers))]

    def add(self, entry: Entry, offset: int) -> None:
        """Take the next entry, whose content starts at the offset."""
        path, kind, mode, uid, gid, mtime, size, link, xattrs, major, minor = entry
        if self._plain:
            parent = path.rpartition("/")[0]
            is_new = path not in self._singles and self._has(parent) and PREFIX not in path
            if kind is Kind.DIRECTORY:
                self._plain = is_new and self._directories.add(path)
                self._at_hand = parent, path
            else:
                self._plain = is_new and path not in self._directories and kind in (Kind.FILE, Kind.SYMLINK)
                self._singles.add(path)
        if xattrs or major or minor:
            self._rare[self.count] = (major, minor, xattrs)
        modes, uids, gids, mtimes, sizes, offsets = self._numbers
        self._paths.append(path.encode("utf-8", "surrogateescape"))
        self._kinds.append(kind)
        modes.append(mode)
        uids.append(uid)
        gids.append(gid)
        mtimes.append(mtime)
        sizes.append(size)
        offsets.append(offset)
        self._links.append(link.encode("utf-8", "surrogateescape") if link else b"")
        self._took(1)

    def add_files(
        self, directory: str, names: Sequence[bytes], rows: Sequence[FileRow], offsets: Sequence[int]
    ) -> None:
        """Take ordinary files of a directory, of which no name comes again in this layer."""
        if not names:
            return
        prefix = f"{directory}/".encode("utf-8", "surrogateescape") if directory else b""
        joined = prefix + (b"\0" + prefix).join(names)
        if _MARK in joined or not self._has(directory):
            self._plain = False
        count = len(names)
        self._paths.append(joined)
        self._links.append(bytes(count - 1))
        self._kinds += bytes(count)  # an ordinary file has the number 0
        for column, values in zip(self._numbers, (*zip(*rows, strict=True), offsets), strict=True):
            if values[0] == values[-1] and values.count(values[0]) == count:
                column.extend(array(column.typecode, values[:1]) * count)
            else:
                column.extend(values)
        self._took(count)

    def _has(self, directory: str) -> bool:
        """Whether a directory came already."""
        if directory in self._at_hand:
            return True
        found = directory in self._directories
        if found:
            self._at_hand = directory, self._at_hand[1]
        return found

    def _took(self, count: int) -> None:
        self.count += count
        self._waiting += count
        if self._waiting >= _AT_ONCE:
            self._flush()

    def parts(self) -> Iterator[bytes]:
        """
        The index of what was taken as `LayerIndex.from_bytes` reads it.

        Raises:
            UnsafeLayer: the entries contradict one another.
        """
        return self._raw_parts() if self._plain else self.index().parts()

    def index(self) -> LayerIndex:
        """
        The same as a value.

        Raises:
            UnsafeLayer: the entries contradict one another.
        """
        raw = LayerIndex.from_bytes(b"".join(self._raw_parts()))
        return raw if self._plain else LayerIndex.of(raw, map(raw.offset, range(len(raw))))

    def _raw_parts(self) -> Iterator[bytes]:
        self._flush()
        paths, links, *_ = self._saved
        yield head_of(self.count, paths.size, links.size, rare=self._rare)
        for column in self._saved:
            yield from column.blocks()

    def _flush(self) -> None:
        """Put aside what is still in memory."""
        if not self._waiting:
            return
        follows = self.count > self._waiting
        self._waiting = 0
        paths, links, kinds, *numbers = self._saved
        for column, texts in ((paths, self._paths), (links, self._links)):
            data = b"\0".join(texts)
            column.append(b"\0" + data if follows else data)
            texts.clear()
        kinds.append(bytes(self._kinds))
        self._kinds.clear()
        for column, values in zip(numbers, self._numbers, strict=True):
            column.append(little(values).tobytes())
        self._numbers = _numbers()


def _numbers() -> tuple[array[int], ...]:
    return tuple(map(array, "IIIqqq"))
