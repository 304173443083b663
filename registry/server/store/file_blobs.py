"""
Blobs as files: one content for all repositories, and a link to it in each repository that has the blob.

Invariants: a blob gets its name only after its digest was verified, so a push of the same blob repairs
damaged content, in every repository; content and links of one digest change one after the other.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from oci_image.digest import Digest
from oci_image.errors import ImageError
from oci_image.store.lock import sync_directory

from ..leases import Leases
from .durable import list_names, make_directories, remove_file, storage_errors
from .index import Index
from .layout import Layout, unflatten
from .links import same_bytes, share

_STRIPES = 64


class FileBlobs:
    """Implements `BlobAccess`."""

    def __init__(self, layout: Layout, index: Index, leases: Leases) -> None:
        self._layout = layout
        self._index = index
        self._leases = leases
        self._locks = [threading.RLock() for _ in range(_STRIPES)]

    def lock(self, digest: Digest) -> threading.RLock:
        """The lock for changes to content and links of the digest."""
        return self._locks[int(digest.hex[:4], 16) % _STRIPES]

    def _is_member(self, repository: str, digest: Digest) -> bool:
        return os.path.lexists(self._layout.member(repository, "blobs", digest))

    def touch(self, repository: str, digest: Digest) -> bool:
        """Note that somebody relies on the blob; False when it is being collected."""
        return self._leases.touch(repository, digest)

    def stat(self, repository: str, digest: Digest) -> int | None:
        """The size in bytes, or None."""
        with storage_errors():
            if not self._is_member(repository, digest) or not self._leases.touch(repository, digest):
                return None
        return self.content_size(digest)

    def open(self, repository: str, digest: Digest) -> BinaryIO | None:
        """A reader, or None."""
        with storage_errors():
            return self.open_content(digest) if self._is_member(repository, digest) else None

    def open_content(self, digest: Digest) -> BinaryIO | None:
        """A reader of the content, whoever has it; None when it is gone."""
        with storage_errors():
            try:
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
                return open(os.open(self._layout.blob(digest), flags), "rb", buffering=0)
            except FileNotFoundError:
                return None

    def content_size(self, digest: Digest) -> int | None:
        """The size of the content, whoever has it; None when it is gone."""
        with storage_errors():
            try:
                return os.stat(self._layout.blob(digest), follow_symlinks=False).st_size
            except FileNotFoundError:
                return None

    def mount(self, repository: str, digest: Digest, source: str) -> bool:
        """Give a repository a blob of another one."""
        with self.lock(digest):
            size = self.stat(source, digest)
            if size is None:
                return False
            with storage_errors():
                self._add_member(repository, digest, size)
            return True

    def holders(self, digest: Digest) -> Iterator[str]:
        """The repositories that have the blob."""
        with storage_errors():
            if os.path.exists(self._layout.blob(digest)):
                yield from self._index.holders(digest)

    def delete(self, repository: str, digest: Digest, *, keep: str = "") -> bool:
        """Take the blob from the repository, its link to `keep`; the content stays for the collection."""
        with self.lock(digest), storage_errors():
            if not os.path.lexists(self._layout.blob(digest)) and not self._index.has_blob(
                repository, digest
            ):
                return False
            directory = self._layout.member_directory(repository, "blobs", digest.algorithm)
            with self._index.altering(repository):
                found = remove_file(f"{self._layout.root}/{directory}", digest.hex, keep=keep)
                self._index.delete_blob(repository, digest)
            return found

    def remove_content(self, digest: Digest, keep: str) -> bool:
        """Move content to `keep` unless a repository has it after all."""
        with self.lock(digest), storage_errors():
            path = self._layout.blob(digest)
            try:
                links = os.stat(path, follow_symlinks=False).st_nlink
            except FileNotFoundError:
                return False
            if self._index.holders(digest):
                return False
            # More names than one: the files are asked, because the index may be wrong.
            if links > 1 and any(
                os.path.lexists(self._layout.member(unflatten(name), "blobs", digest))
                and not os.path.lexists(self._layout.member(unflatten(name), "manifests", digest))
                for name in list_names(self._layout.repositories)
            ):
                return False
            return remove_file(os.path.dirname(path), digest.hex, keep=keep)

    def contents(self) -> Iterator[Digest]:
        """The digests of all content, whether a repository has it or not."""
        for algorithm in ("sha256", "sha512"):
            parent = f"{self._layout.root}/blobs/{algorithm}"
            for directory in sorted(list_names(parent)):
                for name in sorted(list_names(f"{parent}/{directory}")):
                    with suppress(ImageError):
                        yield Digest.parse(f"{algorithm}:{name}")

    def quarantine(self, digest: Digest) -> None:
        """Put damaged content aside, where nobody reads it."""
        with self.lock(digest), storage_errors(), suppress(FileNotFoundError):
            target = f"{self._layout.root}/quarantine/{digest.algorithm}-{digest.hex[:64]}-{uuid.uuid4().hex}"
            os.rename(self._layout.blob(digest), target)
            sync_directory(os.path.dirname(self._layout.blob(digest)))

    def adopt(self, repository: str, digest: Digest, path: str) -> None:
        """Move a file, whose bytes were verified and flushed, to its name and give it to the repository."""
        with self.lock(digest), storage_errors():
            size = os.stat(path).st_size
            self.adopt_content(digest, path)
            self._add_member(repository, digest, size)

    def adopt_content(self, digest: Digest, path: str) -> None:
        """Move a file, whose bytes were verified and flushed, to its name; links to damaged bytes follow."""
        with self.lock(digest), storage_errors():
            directory = make_directories(self._layout.root, self._layout.blob_directory(digest))
            content = f"{directory}/{digest.hex}"
            if same_bytes(content, path):
                os.unlink(path)  # one content for all links: the new file would be a second one
            else:
                os.chmod(path, 0o444)
                os.rename(path, content)
                sync_directory(directory)
                self._repair(digest)

    def _repair(self, digest: Digest) -> None:
        for holder in self._index.holders(digest):
            relative = self._layout.member_directory(holder, "blobs", digest.algorithm)
            directory = make_directories(self._layout.root, relative)
            share(self._layout.blob(digest), self._layout.temporary, directory, digest.hex, replace=True)

    def _add_member(self, repository: str, digest: Digest, size: int) -> None:
        relative = self._layout.member_directory(repository, "blobs", digest.algorithm)
        with self._index.altering(repository):
            directory = make_directories(self._layout.root, relative)
            share(self._layout.blob(digest), self._layout.temporary, directory, digest.hex)
            self._index.put_blob(repository, digest, size)
        # A collection may have decided on the blob before it was pushed again.
        self._leases.release([(repository, digest)])
        self._leases.touch(repository, digest)
