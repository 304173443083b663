"""
Buffered reading of a stream of archive bytes.

`Source` reads ahead and knows its position; `Payload` is the content of one member.
"""

from __future__ import annotations

from typing import Protocol

from ..errors import UnsafeLayer
from .pathsafe import shown

# Larger blocks come from mmap() each time and cost more in page faults than they save in calls.
CHUNK = 1 << 16


class Readable(Protocol):
    """What an archive is read from. If it has ``seekable`` and that is true, ``seek`` is used to skip."""

    def read(self, size: int, /) -> bytes:
        """At most so many of the next bytes; empty at the end."""
        ...


class Source:
    """Reads exact amounts of a stream whose reads may be short."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._buffer = b""
        self._used = 0
        self._fetched = 0
        seekable = getattr(stream, "seekable", None)
        self._seek = getattr(stream, "seek", None) if seekable is not None and seekable() else None

    @property
    def position(self) -> int:
        """How many bytes of the stream were consumed."""
        return self._fetched - len(self._buffer) + self._used

    def take_up_to(self, size: int) -> bytes:
        """The next bytes, fewer only at the end of the stream."""
        used = self._used
        end = used + size
        if end <= len(self._buffer):
            self._used = end
            return self._buffer[used:end]
        parts = [self._buffer[used:]]
        have = len(parts[0])
        while have < size:
            more = self._stream.read(max(CHUNK, size - have))
            if not more:
                break
            self._fetched += len(more)
            parts.append(more)
            have += len(more)
        self._buffer = b"".join(parts)
        self._used = min(size, have)
        return self._buffer[: self._used]

    def take(self, size: int, name: str) -> bytes:
        """
        The next bytes.

        Raises:
            UnsafeLayer: the stream ends before, within the member of the name.
        """
        data = self.take_up_to(size)
        if len(data) < size:
            raise UnsafeLayer(f"{shown(name)}: the archive ends within this member")
        return data

    def some(self, size: int, name: str) -> bytes:
        """At least one and at most so many bytes, copied as little as possible."""
        used = self._used
        have = len(self._buffer) - used
        if have:
            self._used = used + min(size, have)
            return self._buffer[used : self._used]
        data = self._stream.read(min(CHUNK, size))
        if not data:
            raise UnsafeLayer(f"{shown(name)}: the archive ends within this member")
        self._fetched += len(data)
        return data

    def skip(self, size: int, name: str) -> None:
        """Pass over bytes; the end of the stream is noticed here or at the next read."""
        have = len(self._buffer) - self._used
        if size <= have:
            self._used += size
            return
        size -= have
        self._buffer = b""
        self._used = 0
        if self._seek is not None and size > CHUNK:
            # Seeking cannot see the end of a file, so the last byte is read.
            self._seek(size - 1, 1)
            self._fetched += size - 1
            size = 1
        while size:
            size -= len(self.some(size, name))

    def exhaust(self) -> None:
        """Read to the end of the stream, keeping nothing."""
        self._buffer = b""
        self._used = 0
        while data := self._stream.read(CHUNK):
            self._fetched += len(data)


class Payload:
    """The content of the member at hand; reading past its end gives empty bytes."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._name = ""
        self._fill = 0
        self.offset = 0
        """Where the content starts in the archive."""
        self.left = 0
        """How many bytes of it have not been read."""

    def start(self, name: str, size: int) -> None:
        """Begin with the next member."""
        self._name = name
        self.offset = self._source.position
        self.left = size
        self._fill = -size % 512

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, fewer than asked for only at the end; all of them for a negative size."""
        size = self.left if size < 0 else min(size, self.left)
        if not size:
            return b""
        data = self._source.take(size, self._name)
        self.left -= size
        return data

    def some(self) -> bytes:
        """The next bytes, as many as are at hand; empty at the end. The cheapest way to copy content."""
        if not self.left:
            return b""
        data = self._source.some(min(CHUNK, self.left), self._name)
        self.left -= len(data)
        return data

    def skip(self) -> None:
        """Pass over what is left and the padding."""
        rest = self.left + self._fill
        if rest:
            self.left = self._fill = 0
            self._source.skip(rest, self._name)
