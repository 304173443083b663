"""
Stores that live in memory: for tests, for a registry without a directory, and as the simplest example.

Invariant: nothing survives the process; otherwise the contract of `store.base` holds, also between threads.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO, Self

from ..descriptor import Descriptor
from ..digest import Digest
from ..errors import NotFound, StoreProblem, VerificationFailed
from .names import without_names


class MemoryBlobStore:
    """Bytes by digest in a dictionary."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._times: dict[Digest, float] = {}
        self._lock = threading.Lock()

    def stat(self, digest: Digest) -> int | None:
        """The size in bytes, or None."""
        blob = self._blobs.get(digest)
        return None if blob is None else len(blob)

    def open(self, digest: Digest, offset: int = 0, length: int | None = None) -> BinaryIO:
        """A reader of (a part of) the blob."""
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("offset and length of a part are not negative")
        blob = self._blobs.get(digest)
        if blob is None:
            raise NotFound(f"blob {digest} is not in the store")
        if offset or length is not None:
            blob = blob[offset : None if length is None else offset + length]
        return io.BytesIO(blob)

    def writer(self, algorithm: str = "sha256") -> MemoryBlobWriter:
        """A new writer."""
        return MemoryBlobWriter(self, algorithm)

    def delete(self, digest: Digest) -> bool:
        """Remove a blob; False when it was not there."""
        with self._lock:
            self._times.pop(digest, None)
            return self._blobs.pop(digest, None) is not None

    def digests(self) -> Iterator[Digest]:
        """Every blob that was here at the call."""
        return iter(tuple(self._blobs))

    def modified(self, digest: Digest) -> float | None:
        """When the blob was last committed or touched."""
        return self._times.get(digest)

    def touch(self, digest: Digest) -> bool:
        """Make the blob young again."""
        with self._lock:
            if digest not in self._blobs:
                return False
            self._times[digest] = time.time()
            return True

    def expire(self, digest: Digest, cutoff: float) -> bool:
        """Remove the blob unless it was committed or touched after the cutoff."""
        with self._lock:
            if self._times.get(digest, cutoff) > cutoff:
                return False
            self._times.pop(digest, None)
            return self._blobs.pop(digest, None) is not None

    def put(self, digest: Digest, data: bytes) -> None:
        """Keep bytes under a digest that the caller has computed."""
        with self._lock:
            self._times[digest] = time.time()
            self._blobs[digest] = data


class MemoryBlobWriter:
    """Collects one blob."""

    def __init__(self, store: MemoryBlobStore, algorithm: str) -> None:
        self._store = store
        self._algorithm = Digest.of(b"", algorithm).algorithm
        self._buffer = bytearray()
        self._open = True

    @property
    def size(self) -> int:
        """How many bytes were written so far."""
        return len(self._buffer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes."""
        if not self._open:
            raise StoreProblem("the writer of this blob is closed")
        self._buffer += data

    def commit(self, expected: Digest | None = None) -> Digest:
        """Publish the blob under its digest."""
        if not self._open:
            raise StoreProblem("the writer of this blob is closed")
        data = bytes(self._buffer)
        digest = Digest.of(data, expected.algorithm if expected else self._algorithm)
        self._open = False
        if expected is not None and digest != expected:
            self.discard()
            raise VerificationFailed(f"expected {expected}, but the content is {digest}")
        self._store.put(digest, data)
        return digest

    def discard(self) -> None:
        """Forget everything; a no-op after `commit`."""
        if self._open:
            self._buffer.clear()
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


class MemoryTagStore:
    """Names to descriptors in a dictionary."""

    def __init__(self) -> None:
        self._tags: dict[str, Descriptor] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Descriptor | None:
        """What the name stands for."""
        return self._tags.get(name)

    def set(self, name: str, descriptor: Descriptor) -> None:
        """Let the name stand for the descriptor."""
        kept = replace(descriptor, annotations=without_names(descriptor.annotations))
        with self._lock:
            self._tags[name] = kept

    def delete(self, name: str) -> bool:
        """Remove the name; False when it was not there."""
        with self._lock:
            return self._tags.pop(name, None) is not None

    def items(self) -> Iterator[tuple[str, Descriptor]]:
        """Every name with its descriptor, sorted by name."""
        with self._lock:
            return iter(sorted(self._tags.items(), key=lambda item: item[0]))
