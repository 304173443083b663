"""
A large object as a file.

Invariants: it is read in one request from where reading begins to its end; a connection that breaks is made
again where it broke, a few times; what is read is one version of the object from the first byte to the last.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

from ...errors import StorageUnavailable
from .bucket import Bucket, Entry

_BATCH = 1024 * 1024
_ATTEMPTS = 3


class ObjectReader(io.RawIOBase):
    """
    Reads an object of a bucket; for one thread at a time.

    Args:
        bucket: where it is.
        entry: which object, in which version.
    """

    def __init__(self, bucket: Bucket, entry: Entry) -> None:
        super().__init__()
        self._bucket = bucket
        self._entry = entry
        self._position = 0
        self._pieces: Iterator[bytes] | None = None
        self._rest = memoryview(b"")

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells one content from another one."""
        return (self._entry.version, self._entry.generation, self._entry.size)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go on elsewhere; a new request is made only when something is read there."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._entry.size}[whence]
        target = max(0, base + offset)
        if target != self._position:
            self._position = target
            self._pieces = None
            self._rest = memoryview(b"")
        return target

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any buffer will do
        """Fill the buffer as far as one piece goes."""
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def read(self, size: int = -1) -> bytes:
        """So many bytes, fewer only at the end."""
        left = max(0, self._entry.size - self._position)
        wanted = left if size < 0 else min(size, left)
        parts: list[bytes] = []
        while wanted:
            if not self._rest:
                self._rest = memoryview(self._next_piece())
            part = bytes(self._rest[:wanted])
            self._rest = self._rest[len(part) :]
            self._position += len(part)
            wanted -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _next_piece(self) -> bytes:
        entry = self._entry
        problem = StorageUnavailable("an object ended before its end")
        for _attempt in range(_ATTEMPTS):
            if self._pieces is None:
                self._pieces = self._bucket.stream(entry.key, self._position, entry.version, _BATCH)
            try:
                if piece := next(self._pieces, b""):
                    return piece
            except StorageUnavailable as caught:
                problem = caught
            self._pieces = None
        raise problem

    def close(self) -> None:
        """End the request."""
        self._pieces = None
        self._rest = memoryview(b"")
        super().close()
