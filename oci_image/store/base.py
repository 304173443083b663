"""
What a content store guarantees.

Stores are synchronous. Every implementation passes the same contract suite (tests/contract).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol, Self

from ..descriptor import Descriptor
from ..digest import Digest


class BlobWriter(Protocol):
    """
    Takes the bytes of one blob in order.

    Invisible to readers until `commit`; leaving the ``with`` block without `commit` discards everything.
    """

    @property
    def size(self) -> int:
        """How many bytes were written so far."""
        ...

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """
        Append bytes.

        Raises:
            StoreProblem: they cannot be written (full disk, …).
        """
        ...

    def commit(self, expected: Digest | None = None) -> Digest:
        """
        Publish the blob atomically and durably under its digest; idempotent for bytes that are already there.

        Raises:
            VerificationFailed: the bytes do not have the expected digest; nothing is published.
            StoreProblem: they cannot be written.
        """
        ...

    def discard(self) -> None:
        """Forget everything; a no-op after `commit`."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


class BlobStore(Protocol):
    """Bytes by digest."""

    def stat(self, digest: Digest) -> int | None:
        """The size in bytes, or None for a blob that is not here."""
        ...

    def open(self, digest: Digest, offset: int = 0, length: int | None = None) -> BinaryIO:
        """
        A reader of (a part of) the blob, which the caller closes. The bytes are *not* verified.

        Raises:
            NotFound: the blob is not here.
        """
        ...

    def writer(self, algorithm: str = "sha256") -> BlobWriter:
        """A new writer whose digest is computed with the algorithm."""
        ...

    def delete(self, digest: Digest) -> bool:
        """Remove a blob; False when it was not there."""
        ...

    def digests(self) -> Iterator[Digest]:
        """Every blob, in no particular order."""
        ...


class TagStore(Protocol):
    """Names to descriptors; every change is atomic and durable, readers see only the old or the new one."""

    def get(self, name: str) -> Descriptor | None:
        """What the name stands for."""
        ...

    def set(self, name: str, descriptor: Descriptor) -> None:
        """Let the name stand for the descriptor."""
        ...

    def delete(self, name: str) -> bool:
        """Remove the name; False when it was not there."""
        ...

    def items(self) -> Iterator[tuple[str, Descriptor]]:
        """Every name with its descriptor, sorted by name."""
        ...
