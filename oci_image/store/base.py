"""
What a content store guarantees.

Stores are synchronous and may be used by several threads at once; a writer belongs to one thread at a time.
Every implementation passes the same contract suite (tests/contract).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Protocol, Self, runtime_checkable

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
            StoreProblem: they cannot be written (full disk, …); nothing stays behind.
        """
        ...

    def commit(self, expected: Digest | None = None) -> Digest:
        """
        Publish the blob atomically under its digest, durably if the store is a durable one.

        Idempotent for bytes that are already there; a stored blob that was damaged is thereby repaired. When
        `expected` uses another algorithm than the writer, the blob is checked and published with that one.

        Raises:
            VerificationFailed: the bytes do not have the expected digest; nothing is published.
            StoreProblem: they cannot be written; nothing is published.
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

        A part that reaches beyond the end is cut there. A reader keeps its bytes when the blob is deleted.

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
        """Every blob, in no particular order; blobs that come or go meanwhile may be missed or listed."""
        ...


class AgedBlobStore(BlobStore, Protocol):
    """A blob store that knows since when it holds a blob, as garbage collection needs."""

    def modified(self, digest: Digest) -> float | None:
        """When the blob was last committed or touched (seconds since 1970), None when it is not here."""
        ...

    def touch(self, digest: Digest) -> bool:
        """Make the blob young again, because something will soon refer to it; False when it is not here."""
        ...

    def expire(self, digest: Digest, cutoff: float) -> bool:
        """
        Remove the blob unless it was committed or touched after the cutoff; False when it stays or is not
        here.

        Decided in one step: a blob that is committed or touched meanwhile, by whatever process, stays.
        """
        ...


@runtime_checkable
class LocalFiles(Protocol):
    """A blob store whose blobs are plain files."""

    def local_path(self, digest: Digest) -> str | None:
        """The path of the file with exactly the blob's bytes, None when the blob is not here."""
        ...


def local_path(store: BlobStore, digest: Digest) -> str | None:
    """The blob as a file, for sendfile and copy_file_range; None when there is no such file."""
    return store.local_path(digest) if isinstance(store, LocalFiles) else None


class TagStore(Protocol):
    """Names to descriptors; every change is atomic and durable, readers see only the old or the new one."""

    def get(self, name: str) -> Descriptor | None:
        """What the name stands for."""
        ...

    def set(self, name: str, descriptor: Descriptor) -> None:
        """
        Let the name stand for the descriptor.

        Annotations are kept, except the two with which an image layout itself names its entries.
        """
        ...

    def delete(self, name: str) -> bool:
        """Remove the name; False when it was not there."""
        ...

    def items(self) -> Iterator[tuple[str, Descriptor]]:
        """Every name with its descriptor, sorted by name."""
        ...
