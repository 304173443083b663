"""
Blobs in a bucket: one object for the content, and an empty one for each repository that has the blob.

Invariants: content is written under its digest after that was verified, and verified again while it is sent;
it is there before anybody has it, and goes when nobody does; the index knows what this registry wrote, and
where others write to the bucket as well, the bucket is asked for what the index does not know.
"""

from __future__ import annotations

import io
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from oci_image.digest import Digest, Hasher
from oci_image.errors import VerificationFailed

from ..leases import Leases
from . import bucket_layout as keys
from .bucket import Bucket
from .bucket_reader import ObjectReader
from .durable import remove_file, storage_errors
from .index import Index

_STRIPES = 64
_BLOCK = 1024 * 1024
_SMALL = 256 * 1024
_YOUNG = 3600.0  # seconds for which content of another registry may wait for its first holder


class BucketBlobs:
    """
    Implements `CollectedBlobs`.

    Args:
        bucket: of the registry.
        index: what is known of it.
        leases: what was used.
        marked: the digests of content that was collected and not purged yet.
        is_shared: whether other registries write to the bucket.
    """

    def __init__(
        self,
        bucket: Bucket,
        index: Index,
        leases: Leases,
        marked: Callable[[], frozenset[Digest]],
        *,
        is_shared: bool,
    ) -> None:
        self._bucket = bucket
        self._index = index
        self._leases = leases
        self._marked = marked
        self._is_shared = is_shared
        self._locks = [threading.RLock() for _ in range(_STRIPES)]
        self._sending = [threading.Lock() for _ in range(_STRIPES)]
        self.left: set[tuple[str, Digest]] | None = None
        """While the index catches up: what repositories lost meanwhile."""

    def lock(self, digest: Digest) -> threading.RLock:
        """The lock for changes to content and holders of the digest."""
        return self._locks[int(digest.hex[:4], 16) % _STRIPES]

    def _has(self, repository: str, digest: Digest) -> bool:
        if self._index.has_blob(repository, digest):
            return True
        if not self._is_shared or self._bucket.head(keys.holder(digest, repository)) is None:
            return False
        entry = self._bucket.head(keys.content(digest))
        if entry is not None:
            self._index.put_blob(repository, digest, entry.size)
        return True

    def touch(self, repository: str, digest: Digest) -> bool:
        """Note that somebody relies on the blob; False when it is being collected."""
        return self._leases.touch(repository, digest)

    def stat(self, repository: str, digest: Digest) -> int | None:
        """The size in bytes, or None."""
        if not self._has(repository, digest) or not self._leases.touch(repository, digest):
            return None
        return self.content_size(digest)

    def content_size(self, digest: Digest) -> int | None:
        """The size of the content, whoever has it; None when it is gone."""
        entry = self._bucket.head(keys.content(digest))
        return None if entry is None else entry.size

    def open(self, repository: str, digest: Digest) -> BinaryIO | None:
        """A reader, or None."""
        if not self._has(repository, digest):
            return None
        size = self._index.blob_size(repository, digest)
        return self._open(digest, is_small=size is not None and size <= _SMALL)

    def open_content(self, digest: Digest) -> BinaryIO | None:
        """A reader of the content, whoever has it; None when it is gone."""
        return self._open(digest, is_small=False)

    def _open(self, digest: Digest, *, is_small: bool) -> BinaryIO | None:
        if is_small:  # one request in place of two
            found = self._bucket.read(keys.content(digest))
            return None if found is None else io.BytesIO(found[0])
        entry = self._bucket.head(keys.content(digest))
        return None if entry is None else cast("BinaryIO", ObjectReader(self._bucket, entry))

    def link(self, repository: str, digest: Digest, seconds: float) -> str:
        """A URL from which everybody can read the blob for a while; empty where there is none."""
        if self.stat(repository, digest) is None:
            return ""
        return self._bucket.link(keys.content(digest), seconds)

    def mount(self, repository: str, digest: Digest, source: str) -> bool:
        """Give a repository a blob of another one."""
        with self.lock(digest):
            size = self.stat(source, digest)
            if size is None:
                return False
            self._add_holder(repository, digest, size)
            return True

    def holders(self, digest: Digest) -> Iterator[str]:
        """The repositories that have the blob, as far as this registry knows."""
        if self.content_size(digest) is not None:
            yield from self._index.holders(digest)

    def delete(self, repository: str, digest: Digest, *, keep: str = "") -> bool:
        """Take the blob from the repository; the content stays for the collection."""
        with self.lock(digest):
            if not self._has(repository, digest):
                return False
            with self._index.altering(repository):
                if keep:
                    self._bucket.write(keep, b"")
                self._bucket.remove(keys.holder(digest, repository))
                self._index.delete_blob(repository, digest)
            if self.left is not None:
                self.left.add((repository, digest))
            return True

    def remove_content(self, digest: Digest, keep: str) -> bool:
        """Mark content for the purge unless a repository has it after all; it is not moved."""
        with self.lock(digest):
            if self._index.holders(digest) or self._bucket.has_any(keys.holders(digest)):
                return False
            self._bucket.write(keep, b"")
            return True

    def purge_content(self, digest: Digest) -> None:
        """Remove content unless a repository has it again."""
        with self.lock(digest):
            if not self._index.holders(digest) and not self._bucket.has_any(keys.holders(digest)):
                self._bucket.remove(keys.content(digest))

    def contents(self) -> Iterator[Digest]:
        """The digests of all content that is not marked; not what another registry is just pushing."""
        marked = self._marked()
        for entry in self._bucket.entries(keys.BLOBS):
            digest = keys.read_content_key(entry.key)
            is_young = self._is_shared and time.time() - entry.modified < _YOUNG
            if digest is not None and digest not in marked and not is_young:
                yield digest

    def quarantine(self, digest: Digest) -> None:
        """Put damaged content aside, where nobody reads it."""
        with self.lock(digest):
            name = f"{digest.algorithm}-{digest.hex[:64]}-{uuid.uuid4().hex}"
            self._bucket.move(keys.content(digest), f"quarantine/{name}")

    def send(self, digest: Digest, path: str) -> None:
        """Let the bucket have the bytes of a file, which were verified."""
        size = _size(path)
        # Another lock than for changes, because this may take minutes.
        with self._sending[int(digest.hex[:4], 16) % _STRIPES]:
            # The same size under the same digest: damage is for verifying reads and scrubs to find.
            if self.content_size(digest) != size:
                self._bucket.write_blocks(keys.content(digest), _verified(path, digest), size)

    def adopt(self, repository: str, digest: Digest, path: str) -> None:
        """Give a file, whose bytes were verified, to the repository, and remove it here."""
        size = _size(path)
        with self.lock(digest):
            self.send(digest, path)  # a purge may have taken what was sent before
            self._add_holder(repository, digest, size)
        directory, _, name = path.rpartition("/")
        with storage_errors():
            remove_file(directory, name)

    def restore(self, repository: str, digest: Digest) -> bool:
        """Give a repository a blob whose content is still here; False when that is gone or damaged."""
        with self.lock(digest):
            file = self.open_content(digest)
            if file is None:
                return False
            hasher = Hasher(digest.algorithm)
            with file:
                while block := file.read(_BLOCK):
                    hasher.update(block)
            if hasher.digest() != digest:
                return False
            if repository:
                self._add_holder(repository, digest, hasher.size)
            return True

    def _add_holder(self, repository: str, digest: Digest, size: int) -> None:
        with self._index.altering(repository):
            self._bucket.write(keys.holder(digest, repository), b"")
            self._index.put_blob(repository, digest, size)
        # A collection may have decided on the blob before it was pushed again.
        self._leases.release([(repository, digest)])
        self._leases.touch(repository, digest)


def _size(path: str) -> int:
    with storage_errors():
        return os.stat(path, follow_symlinks=False).st_size


def _verified(path: str, digest: Digest) -> Iterator[bytes]:
    """The bytes of the file; the end is not reached unless they are right."""
    hasher = Hasher(digest.algorithm)
    with storage_errors(), open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
            yield block
    if hasher.digest() != digest:
        raise VerificationFailed(f"the upload does not have the digest {digest}")
