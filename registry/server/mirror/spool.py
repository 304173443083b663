"""
A blob that arrives: a file that grows while clients read it.

Invariants: nobody gets the last byte before the digest of all of them was found right; the file has no more
bytes than the upstream promised; it goes when the last one who needs it has gone. Reading and writing happen
in threads, everything else on the event loop.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Sequence

from oci_image.digest import Digest, Hasher

from ..store.durable import storage_errors, write_all
from .upstream import Failure, UpstreamFailed


class Spool:
    """
    The file of one blob.

    Args:
        directory: where it is; it has no meaning to anybody else.
        digest: what the bytes must have.
        known: their number, if a verified manifest says it.
    """

    def __init__(self, directory: str, digest: Digest, known: int | None = None) -> None:
        self.digest = digest
        self._known = known
        self.path = f"{directory}/mirror-{uuid.uuid4().hex}"
        self.size = 0
        self.total: int | None = None
        self.is_whole = False
        self.problem: Exception | None = None
        self._hasher = Hasher(digest.algorithm)
        self._users = 1
        self._news = asyncio.Event()
        with storage_errors():
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self.path, flags, 0o600)

    # For who fetches.

    def expect(self, total: int | None) -> None:
        """
        Take the size that the upstream promises; it must be the same each time.

        Raises:
            UpstreamFailed: it is another one.
        """
        promised = self._known if self.total is None else self.total
        if promised is not None and total is not None and total != promised:
            raise UpstreamFailed(
                Failure.LIED, f"{self.digest}: {total} bytes were offered, {promised} were promised"
            )
        self.total = promised if total is None else total
        self.announce()

    def append(self, parts: Sequence[bytes]) -> None:
        """Write bytes; call `announce` after it."""
        with storage_errors():
            for part in parts:
                self._hasher.update(part)
                write_all(self._descriptor, part)
        self.size += sum(map(len, parts))

    def verify(self) -> None:
        """
        Compare the digest.

        Raises:
            UpstreamFailed: the bytes are others.
        """
        actual = self._hasher.digest()
        if actual != self.digest:
            raise UpstreamFailed(Failure.LIED, f"{self.digest}: the upstream delivered {actual}")

    def flush(self) -> None:
        """Make the bytes durable."""
        with storage_errors():
            os.fsync(self._descriptor)

    def announce(self) -> None:
        """Let everybody look again."""
        self._news.set()
        self._news = asyncio.Event()

    def end(self, problem: Exception | None) -> None:
        """Nothing more comes: everything is right, or the problem is everybody's."""
        self.problem = problem
        self.is_whole = problem is None
        if self.is_whole:
            self.total = self.size
        self.announce()

    # For who reads.

    def use(self) -> None:
        """Keep the file until `release`."""
        self._users += 1

    def release(self) -> None:
        """Do without the file from now on."""
        self._users -= 1
        if not self._users:
            os.close(self._descriptor)
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                return  # it has become the stored content

    @property
    def readable(self) -> int:
        """How many bytes may be delivered."""
        if self.is_whole or self.total is None:
            return self.size if self.is_whole else 0
        return min(self.size, max(self.total - 1, 0))

    async def promised(self) -> int | None:
        """
        The size of the blob once that is known; None if that takes until all of it came.

        Raises:
            Exception: what ended the fetch.
        """
        while self.total is None and self.size == 0 and not self.is_whole:
            await self._wait()
        return self.total

    async def beyond(self, offset: int) -> int:
        """
        Wait until more than `offset` bytes may be delivered; returns how many.

        Raises:
            Exception: what ended the fetch.
        """
        while self.readable <= offset and not self.is_whole:
            await self._wait()
        return self.readable

    async def _wait(self) -> None:
        if self.problem is not None:
            raise self.problem
        await self._news.wait()
        if self.problem is not None:
            raise self.problem

    def read(self, offset: int, length: int) -> bytes:
        """Bytes that may be delivered."""
        with storage_errors():
            return os.pread(self._descriptor, length, offset)
