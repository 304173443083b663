"""
Entries to a tar stream.

The stream is a function of the entries and contents alone. The writer keeps the order that it is given; it is
the caller who puts parents before children and a hardlink after its target. Small members are joined into
writes of at least one MiB, large ones pass through in blocks of one MiB, so memory stays bounded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from ..errors import ImageError
from ..spool import Spool
from .entry import Entry, Kind
from .header import BLOCK, header
from .index import LayerIndex
from .rows import IndexRows
from .runs import Run, wrong_size

BUFFER = 1 << 20
_ZEROS = tuple(bytes(count) for count in range(BLOCK))


class LayerWriter:
    """
    Writes the entries of one layer to a sink.

    The sink may keep the bytes objects that it gets: none is changed afterwards. Not safe for several
    threads.

    Args:
        write: takes the next bytes of the archive.
        record: remember the entries, so that `index` works.
        spool: where they are put aside; in memory if there is none.
    """

    def __init__(
        self, write: Callable[[bytes], object], *, record: bool = True, spool: Spool | None = None
    ) -> None:
        self.count = 0
        self._write = write
        self._parts: list[bytes] = []
        self._pending = 0
        self._flushed = 0
        self._finished = False
        self._rows = IndexRows(spool) if record else None

    @property
    def size(self) -> int:
        """How many bytes the archive has so far."""
        return self._flushed + self._pending

    def add(self, entry: Entry, content: bytes | int | BinaryIO | None = None) -> int:
        """
        Append one entry; returns the offset of its content in the archive.

        Args:
            entry: what to write.
            content: of a file: bytes, an open descriptor or a reader, read from its position and not closed.

        Raises:
            ImageError: the content has not exactly the size that the entry says, for instance because the
            file
                was changed meanwhile. The archive is useless then.
        """
        block = header(entry)
        parts = self._parts
        parts.append(block)
        self._pending += len(block)
        offset = self._flushed + self._pending
        size = entry.size
        if entry.kind is not Kind.FILE:
            if content is not None or size:
                raise ImageError(f"{entry.path}: only a file has content")
        elif size or content is not None:
            if size > BUFFER:
                self._add_large(entry, content)
            else:
                data = content if isinstance(content, bytes) else _read_small(entry, content)
                if len(data) != size:
                    raise _wrong_size(entry)
                parts.append(data)
                self._pending += size
            fill = -size % BLOCK
            if fill:
                parts.append(_ZEROS[fill])
                self._pending += fill
        if self._pending >= BUFFER:
            self._flush()
        self.count += 1
        if self._rows is not None:
            self._rows.add(entry, offset)
        return offset

    def add_run(self, run: Run) -> None:
        """Append files that were made together, of which no name comes again in this layer."""
        start = self.size
        self._parts.append(run.data)
        self._pending += len(run.data)
        self.count += len(run.names)
        if self._rows is not None:
            offsets = [start + place for place in run.starts]
            self._rows.add_files(run.directory, run.names, run.rows, offsets)
        if self._pending >= BUFFER:
            self._flush()

    def finish(self) -> int:
        """Write the end of the archive (two zero blocks) and return its size; idempotent."""
        if not self._finished:
            self._finished = True
            self._parts.append(bytes(2 * BLOCK))
            self._pending += 2 * BLOCK
            self._flush()
        return self._flushed

    def index(self) -> LayerIndex:
        """
        The index of what was written.

        Raises:
            ImageError: the writer was told not to record.
            UnsafeLayer: the entries contradict one another (a file as parent, …).
        """
        return self._recorded().index()

    def index_parts(self) -> Iterator[bytes]:
        """
        The same, as bytes that `LayerIndex.from_bytes` reads.

        Raises:
            ImageError: the writer was told not to record.
            UnsafeLayer: the entries contradict one another.
        """
        return self._recorded().parts()

    def _recorded(self) -> IndexRows:
        if self._rows is None:
            raise ImageError("this layer was written without recording its entries")
        return self._rows

    def _flush(self) -> None:
        if self._parts:
            # The list is emptied in place: `add` holds on to it.
            data = b"".join(self._parts)
            self._parts.clear()
            self._flushed += self._pending
            self._pending = 0
            self._write(data)

    def _add_large(self, entry: Entry, content: bytes | int | BinaryIO | None) -> None:
        self._flush()
        if isinstance(content, bytes):
            if len(content) != entry.size:
                raise _wrong_size(entry)
            self._write(content)
        else:
            read = _reader(entry, content)
            left = entry.size
            while left:
                data = read(min(BUFFER, left))
                if not data:
                    raise _wrong_size(entry)
                self._write(data)
                left -= len(data)
            if read(1):
                raise _wrong_size(entry)
        self._flushed += entry.size


def _read_small(entry: Entry, content: int | BinaryIO | None) -> bytes:
    """The whole content, and one byte more if there is one."""
    if isinstance(content, int):
        # One call suffices for nearly every file: less than asked for means that the end was reached.
        data = os.read(content, entry.size + 1)
        if len(data) == entry.size:
            return data
    else:
        data = b""
    read = _reader(entry, content)
    while len(data) <= entry.size:
        more = read(entry.size + 1 - len(data))
        if not more:
            break
        data += more
    return data


def _reader(entry: Entry, content: int | BinaryIO | None) -> Callable[[int], bytes]:
    if content is None:
        raise ImageError(f"{entry.path}: a file of {entry.size} bytes needs content")
    if isinstance(content, int):
        descriptor = content
        return lambda size: os.read(descriptor, size)
    return content.read


def _wrong_size(entry: Entry) -> ImageError:
    return wrong_size(entry.path, entry.size)
