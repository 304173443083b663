"""
Bytes that are put aside: in memory while they are few, in a file without a name when they become many.

What is made of very many small things is kept here instead of as objects, so that memory stays the same
however many there are. The file is the kernel's to cache and goes with the process.
"""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple, Protocol

from .errors import StoreProblem

MOST_IN_MEMORY = 1 << 19


class Pages(Protocol):
    """Where kept bytes lie."""

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes at an offset."""
        ...


class Kept(NamedTuple):
    """Bytes that lie somewhere; equal only to themselves in the same place."""

    pages: Pages
    offset: int
    size: int

    def read(self) -> bytes:
        """
        The bytes.

        Raises:
            StoreProblem: they cannot be read any more.
        """
        return self.pages.read(self.offset, self.size) if self.size else b""

    def part(self, start: int, size: int) -> Kept:
        """A part of the same bytes."""
        return Kept(self.pages, self.offset + start, size)


class FilePages:
    """The bytes of an open file, whose descriptor is closed with the last that is kept in it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, offset: int, size: int) -> bytes:
        """
        So many bytes at an offset.

        Raises:
            StoreProblem: the file has not as many, or cannot be read.
        """
        parts: list[bytes] = []
        try:
            while size and (data := os.pread(self._descriptor, size, offset)):
                parts.append(data)
                offset, size = offset + len(data), size - len(data)
        except OSError as problem:
            raise StoreProblem(f"cannot read what was put aside: {problem.strerror}") from problem
        if size:
            raise StoreProblem("what was put aside is not there any more")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def append(self, data: bytearray, offset: int) -> None:
        """
        Write bytes at an offset.

        Raises:
            OSError: there is no space for them.
        """
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                done += os.pwrite(self._descriptor, view[done:], offset + done)

    def __del__(self) -> None:
        with suppress(OSError):
            os.close(self._descriptor)


class Spool:
    """
    Takes bytes and gives them back; used by several threads at once.

    Where no file can be made or written, everything stays in memory.

    Args:
        directory: where the file is made, if one is needed; made itself if it is not there.
        most: how many bytes may be in memory.
    """

    def __init__(self, directory: str, *, most: int = MOST_IN_MEMORY) -> None:
        self._directory = directory
        self._most = most
        self._tail = bytearray()
        self._written = 0
        self._file: FilePages | None = None
        self._lock = threading.Lock()

    def keep(self, data: bytes) -> Kept:
        """Take bytes."""
        with self._lock:
            if len(self._tail) >= self._most:
                self._spill()
            kept = Kept(self, self._written + len(self._tail), len(data))
            self._tail += data
        return kept

    def read(self, offset: int, size: int) -> bytes:
        """
        The bytes at an offset, all of which were taken.

        Raises:
            StoreProblem: the file cannot be read.
        """
        with self._lock:
            start = offset - self._written
            end = start + size
            if start >= 0:
                with memoryview(self._tail) as view:
                    return bytes(view[start:end])
            file, rest = self._file, bytes(self._tail[:end]) if end > 0 else b""
        assert file is not None  # noqa: S101 - something was written
        return file.read(offset, size - len(rest)) + rest if rest else file.read(offset, size)

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = FilePages(_nameless(self._directory))
            self._file.append(self._tail, self._written)
        except OSError:
            self._most *= 2  # no space, so for now it stays here
            return
        self._written += len(self._tail)
        self._tail = bytearray()


class Column:
    """Bytes that grow at the end, put aside in blocks; none of what was taken at once lies in two of them."""

    def __init__(self, spool: Spool, *, block: int = 1 << 16) -> None:
        self.size = 0
        self._spool = spool
        self._block = block
        self._blocks: list[Kept] = []
        self._starts = array("q", [0])
        self._last = bytearray()

    def append(self, data: bytes | bytearray) -> None:
        """Take bytes."""
        self._last += data
        self.size += len(data)
        if len(self._last) >= self._block:
            self._blocks.append(self._spool.keep(bytes(self._last)))
            self._starts.append(self.size)
            self._last.clear()

    def blocks(self) -> Iterator[bytes]:
        """Everything in order."""
        for kept in self._blocks:
            yield kept.read()
        if self._last:
            yield bytes(self._last)

    def read(self, start: int, size: int) -> bytes:
        """
        The bytes from a place in the whole on, or as many of them as there are in the same block.

        Raises:
            StoreProblem: they cannot be read any more.
        """
        number = bisect_right(self._starts, start) - 1
        start -= self._starts[number]
        if number == len(self._blocks):
            return bytes(self._last[start : start + size])
        block = self._blocks[number]
        return block.part(start, min(size, block.size - start)).read()

    def block_at(self, place: int) -> tuple[int, bytes]:
        """
        The block that holds a place, and where it starts in the whole.

        Raises:
            StoreProblem: it cannot be read any more.
        """
        number = bisect_right(self._starts, place) - 1
        is_last = number == len(self._blocks)
        return self._starts[number], bytes(self._last) if is_last else self._blocks[number].read()


def _nameless(directory: str) -> int:
    """A descriptor of a new file that has no name, and so goes with the process."""
    os.makedirs(directory, exist_ok=True)
    with suppress(OSError):  # not every filesystem can do that
        return os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    import tempfile

    descriptor, path = tempfile.mkstemp(dir=directory)
    os.unlink(path)
    return descriptor
