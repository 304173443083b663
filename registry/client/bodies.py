"""
Bodies of uploads: where bytes come from, read or made in a thread, one block ahead of the network.

Invariants: a body can be started again at any offset unless it says otherwise; blocks are about 1 MiB, for
each hop to a thread has a price; whatever runs in a thread is awaited before its source is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest, Hasher
from oci_image.store.base import BlobStore

from ..errors import UploadProblem

BLOCK = 1024 * 1024


class Body(Protocol):
    """The bytes of one blob."""

    @property
    def descriptor(self) -> Descriptor | None:
        """Digest and size if they are known before the bytes were read."""
        ...

    @property
    def restartable(self) -> bool:
        """Whether `blocks` may be called more than once."""
        ...

    def blocks(self, offset: int) -> AsyncGenerator[bytes, None]:
        """
        The bytes from `offset` on; close it (``aclosing``) when it is not read to its end.

        Raises:
            UploadProblem: the body was started before and cannot be started again.
        """
        ...

    def computed(self) -> tuple[Digest, int]:
        """Digest and size of the whole body, after its blocks were read to the end."""
        ...


class StoredBody:
    """A blob that rests somewhere, with known digest and size; `opener` gets the offset."""

    restartable = True

    def __init__(self, descriptor: Descriptor, opener: Callable[[int], BinaryIO]) -> None:
        self.descriptor: Descriptor | None = descriptor
        self._known = descriptor
        self._opener = opener

    async def blocks(self, offset: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `offset` on."""
        stream = await asyncio.to_thread(self._opener, offset)
        async with contextlib.aclosing(_ahead(lambda: stream.read(BLOCK), stream)) as blocks:
            async for block in blocks:
                yield block

    def computed(self) -> tuple[Digest, int]:
        """What was known from the beginning."""
        return self._known.digest, self._known.size


class MadeBody:
    """
    Bytes that are made while they are sent, and digested as they are made.

    Args:
        make: opens an iterator of pieces; it must give the same bytes each time.
    """

    descriptor: Descriptor | None = None
    restartable = True

    def __init__(self, make: Callable[[], AbstractContextManager[Iterator[bytes]]]) -> None:
        self._make = make
        self._hasher: Hasher | None = None
        self._complete = False

    async def blocks(self, offset: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `offset` on; those before it are made again, for the digest."""
        hasher = self._hasher = Hasher()
        self._complete = False
        with contextlib.ExitStack() as stack:
            pieces = await asyncio.to_thread(stack.enter_context, self._make())

            def make() -> bytes:
                block = _gather(pieces)
                hasher.update(block)
                return block

            skip = offset
            async with contextlib.aclosing(_ahead(make, None)) as blocks:
                async for block in blocks:
                    if skip >= len(block):
                        skip -= len(block)
                        continue
                    yield block[skip:] if skip else block
                    skip = 0
            self._complete = True

    def computed(self) -> tuple[Digest, int]:
        """Digest and size of everything that was made."""
        if self._hasher is None or not self._complete:
            raise UploadProblem("the body was not read to its end")
        return self._hasher.digest(), self._hasher.size


class OnceBody:
    """An asynchronous iterator of bytes that cannot be started again; digested as it passes."""

    restartable = False

    def __init__(self, chunks: AsyncIterator[bytes], descriptor: Descriptor | None = None) -> None:
        self.descriptor = descriptor
        self._chunks: AsyncIterator[bytes] | None = chunks
        self._hasher = Hasher(descriptor.digest.algorithm if descriptor else "sha256")

    async def blocks(self, offset: int) -> AsyncGenerator[bytes, None]:
        """The bytes, which can be had once and from the beginning only."""
        chunks, self._chunks = self._chunks, None
        if chunks is None or offset:
            raise UploadProblem("the upload was interrupted and its bytes cannot be read again")
        async for chunk in chunks:
            await asyncio.to_thread(self._hasher.update, chunk)
            yield chunk

    def computed(self) -> tuple[Digest, int]:
        """Digest and size of what passed."""
        return self._hasher.digest(), self._hasher.size


def body_of_bytes(data: bytes, descriptor: Descriptor) -> Body:
    """Bytes that are in hand."""
    return StoredBody(descriptor, lambda offset: io.BytesIO(data[offset:]))


def body_of_blob(blobs: BlobStore, descriptor: Descriptor) -> Body:
    """A blob of a store, sent as it rests there."""
    return StoredBody(descriptor, lambda offset: blobs.open(descriptor.digest, offset))


def body_of_file(path: str, descriptor: Descriptor) -> Body:
    """A file."""

    def opened(offset: int) -> BinaryIO:
        stream = open(path, "rb")  # noqa: SIM115 - closed by the body
        stream.seek(offset)
        return stream

    return StoredBody(descriptor, opened)


def _gather(pieces: Iterator[bytes]) -> bytes:
    parts, size = [], 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= BLOCK:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _ahead(make: Callable[[], bytes], closes: BinaryIO | None) -> AsyncGenerator[bytes, None]:
    """Call `make` in a thread until it gives nothing, one block ahead of who takes them."""
    loop = asyncio.get_running_loop()
    following = loop.run_in_executor(None, make)
    try:
        while block := await following:
            following = loop.run_in_executor(None, make)
            yield block
    finally:
        if not following.done():
            await asyncio.wait([following])
        if not following.cancelled():
            following.exception()  # taken: whoever closed us early has an error of their own
        if closes is not None:
            closes.close()
