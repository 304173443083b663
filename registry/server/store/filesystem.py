"""
A registry's storage in a directory: blobs, and how the parts fit together.

Invariants: see `layout` for the files and `durable` for how they change; a blob gets its name only after its
digest was verified, so a push of the same blob repairs damaged content.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO

from oci_image.digest import Digest

from .durable import create_marker, list_names, make_directories, remove_file, storage_errors, sync_directory
from .file_manifests import FileManifests, FileTags
from .file_uploads import FileUploads
from .layout import Layout, take, unflatten

_HOLDERS_LIMIT = 65536


class FilesystemStore:
    """
    Implements `RegistryStore` in a directory, of which it is the only user until `close`.

    Args:
        root: the directory; it is created.
        clock: seconds that never jump, for the age of uploads.

    Raises:
        InvalidConfiguration: another registry uses the directory, or it cannot be written.
    """

    def __init__(self, root: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.layout, self._lock_descriptor = take(root)
        self.blobs = FileBlobs(self.layout)
        self.tags = FileTags(self.layout)
        self.manifests = FileManifests(self.layout, self.tags)
        self.uploads = FileUploads(self.layout, self.blobs.adopt, clock)

    def close(self) -> None:
        """Release the directory; uploads in progress stay."""
        self.uploads.close()
        if self._lock_descriptor >= 0:
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1


class FileBlobs:
    """Implements `BlobAccess`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._last_holder: dict[Digest, str] = {}

    def _is_member(self, repository: str, digest: Digest) -> bool:
        return os.path.lexists(self._layout.member(repository, "blobs", digest))

    def stat(self, repository: str, digest: Digest) -> int | None:
        """The size in bytes, or None."""
        with storage_errors():
            if not self._is_member(repository, digest):
                return None
            try:
                return os.stat(self._layout.blob(digest), follow_symlinks=False).st_size
            except FileNotFoundError:
                return None

    def open(self, repository: str, digest: Digest) -> BinaryIO | None:
        """A reader, or None."""
        with storage_errors():
            if not self._is_member(repository, digest):
                return None
            try:
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
                return open(os.open(self._layout.blob(digest), flags), "rb", buffering=0)
            except FileNotFoundError:
                return None

    def mount(self, repository: str, digest: Digest, source: str) -> bool:
        """Give a repository a blob of another one."""
        if self.stat(source, digest) is None:
            return False
        self._add_member(repository, digest)
        return True

    def holders(self, digest: Digest) -> Iterator[str]:
        """The repositories that have the blob, the last that was seen to first."""
        with storage_errors():
            if not os.path.exists(self._layout.blob(digest)):
                return
            last = self._last_holder.get(digest)
            if last is not None and self._is_member(last, digest):
                yield last
            for name in list_names(self._layout.repositories):
                repository = unflatten(name)
                if repository != last and self._is_member(repository, digest):
                    yield repository

    def delete(self, repository: str, digest: Digest) -> bool:
        """Take the blob from the repository; the content stays for the garbage collection."""
        with storage_errors():
            directory = self._layout.member_directory(repository, "blobs", digest.algorithm)
            return remove_file(f"{self._layout.root}/{directory}", digest.hex)

    def quarantine(self, digest: Digest) -> None:
        """Put damaged content aside, where nobody reads it."""
        with storage_errors(), suppress(FileNotFoundError):
            target = f"{self._layout.root}/quarantine/{digest.algorithm}-{digest.hex[:64]}-{uuid.uuid4().hex}"
            os.rename(self._layout.blob(digest), target)
            sync_directory(os.path.dirname(self._layout.blob(digest)))

    def adopt(self, repository: str, digest: Digest, path: str) -> None:
        """Move a file, whose bytes were verified and flushed, to its name and give it to the repository."""
        with storage_errors():
            directory = make_directories(self._layout.root, self._layout.blob_directory(digest))
            os.chmod(path, 0o444)
            os.rename(path, f"{directory}/{digest.hex}")
            sync_directory(directory)
        self._add_member(repository, digest)

    def _add_member(self, repository: str, digest: Digest) -> None:
        with storage_errors():
            relative = self._layout.member_directory(repository, "blobs", digest.algorithm)
            create_marker(make_directories(self._layout.root, relative), digest.hex)
        if len(self._last_holder) >= _HOLDERS_LIMIT:
            self._last_holder.clear()
        self._last_holder[digest] = repository
