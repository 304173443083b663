"""
Readers of compressed streams that are made of members (gzip, bzip2, xz) or frames (Zstandard).

Invariants: memory is bounded by the caller's buffer and the format's window, whatever the input claims; a
stream that is broken or ends too early raises `UnsafeLayer`; the compressed input is always read to its end,
so that a reader below, which verifies a digest there, has seen all of it. Governing sources: RFC 1952, RFC
8878.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

from ..errors import UnsafeLayer

_PIECE = 128 * 1024


class Decompressor(Protocol):
    """One member's decompressor, as the standard library's bz2 and lzma have them."""

    @property
    def eof(self) -> bool:
        """Whether the member has ended."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether there is no more output without more input."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What was given and lies behind the member."""
        ...

    def decompress(self, data: bytes, max_length: int = ...) -> bytes:
        """The next output, at most that much."""
        ...


class MemberReader(io.RawIOBase):
    """
    The content of all members, one after the other.

    Zeros between members are skipped, and bytes behind the last member that begin no other are ignored: this
    is what gunzip does with such files.
    """

    def __init__(
        self,
        raw: BinaryIO,
        name: str,
        magic: bytes,
        new_member: Callable[[], Decompressor],
        broken: tuple[type[Exception], ...],
    ) -> None:
        self._raw = raw
        self._name = name
        self._magic = magic
        self._new_member = new_member
        self._broken = broken
        self._member: Decompressor | None = new_member()
        self._pending = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override] # typeshed: any buffer
        """Fill the buffer with what comes next; 0 at the end."""
        while self._member is not None and len(buffer):
            data = self._advance(self._member, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0

    def close(self) -> None:
        """Close the compressed stream too."""
        self._raw.close()
        super().close()

    def _advance(self, member: Decompressor, limit: int) -> bytes:
        piece = b""
        if member.needs_input:
            piece = self._pending or self._raw.read(_PIECE)
            self._pending = b""
            if not piece:
                raise UnsafeLayer(f"broken {self._name} stream: it ends too early")
        try:
            data = member.decompress(piece, limit)
        except self._broken as problem:
            raise UnsafeLayer(f"broken {self._name} stream: {problem}") from problem
        if member.eof:
            self._pending = member.unused_data
            self._member = self._new_member() if self._finds_member() else None
        return data

    def _finds_member(self) -> bool:
        while True:
            self._pending = self._pending.lstrip(b"\0")
            if len(self._pending) >= len(self._magic):
                break
            piece = self._raw.read(_PIECE)
            if not piece:
                break
            self._pending += piece
        if self._pending.startswith(self._magic):
            return True
        while self._raw.read(_PIECE):
            pass
        return False


class FrameReader(io.RawIOBase):
    """
    The content of Zstandard frames.

    Args:
        raw: the compressed stream.
        open_stream: opens the library's reader on a stream; it gives an end where the input ends, complete or
        not. broken: what that reader raises.
    """

    def __init__(
        self,
        raw: BinaryIO,
        open_stream: Callable[[BinaryIO], Any],
        broken: tuple[type[Exception], ...],
    ) -> None:
        self._raw = raw
        self._frames = _FrameEnds(raw)
        self._stream = open_stream(cast("BinaryIO", self._frames))
        self._broken = broken

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override] # typeshed: any buffer
        """Fill the buffer with what comes next; 0 at the end."""
        try:
            count = int(self._stream.readinto(buffer))
        except self._broken as problem:
            raise UnsafeLayer(f"broken zstd stream: {problem}") from problem
        if not count and len(buffer) and not self._frames.complete:
            raise UnsafeLayer("broken zstd stream: it ends too early")
        return count

    def close(self) -> None:
        """Close the compressed stream too."""
        self._raw.close()
        super().close()


class _FrameEnds(io.RawIOBase):
    """
    Passes a Zstandard stream on and knows whether it stands between two frames.

    The library's stream reader cannot tell a truncated frame from the end, so the lengths of frames and
    blocks are followed here (RFC 8878, section 3.1); their content is passed over.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._skip = 0
        self._head = bytearray()
        self._state: Callable[[], int] = self._magic
        self._checksum = 0

    @property
    def complete(self) -> bool:
        """Whether nothing is missing from the last frame."""
        return self._state == self._magic and not self._skip and not self._head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override] # typeshed: any buffer
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self._follow(data)
        return len(data)

    def _follow(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
                position += step
                continue
            self._head.append(data[position])
            position += 1
            # Each state gives the number of bytes to pass over once its head is complete, or -1 until then.
            skip = self._state()
            if skip >= 0:
                self._skip = skip
                self._head.clear()

    def _magic(self) -> int:
        if len(self._head) < 4:
            return -1
        if self._head[1:] == b"\x2a\x4d\x18" and self._head[0] & 0xF0 == 0x50:
            self._state = self._skippable
        else:
            self._state = self._header
        return 0

    def _skippable(self) -> int:
        if len(self._head) < 4:
            return -1
        self._state = self._magic
        return int.from_bytes(self._head, "little")

    def _header(self) -> int:
        flags = self._head[0]
        single = flags & 0x20
        size = (1 if single else 0, 2, 4, 8)[flags >> 6]
        self._checksum = 4 if flags & 0x04 else 0
        self._state = self._block
        return (0 if single else 1) + (0, 1, 2, 4)[flags & 3] + size

    def _block(self) -> int:
        if len(self._head) < 3:
            return -1
        value = int.from_bytes(self._head, "little")
        size = 1 if value >> 1 & 3 == 1 else value >> 3
        if value & 1:
            self._state = self._magic
            return size + self._checksum
        return size


class Prefixed(io.RawIOBase):
    """A stream to which bytes that were read from it for a look are given back."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first = first
        self._rest = rest

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override] # typeshed: any buffer
        """Fill the buffer with what comes next; 0 at the end."""
        if self._first:
            data, self._first = self._first[: len(buffer)], self._first[len(buffer) :]
        else:
            data = self._rest.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the stream too."""
        self._rest.close()
        super().close()
