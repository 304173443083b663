"""
Uploads in progress as files.

Invariants: an upload is a record of `Beginnings` until its first byte and a file, whose size is the offset,
from then on; the file is there before the record goes. The running digest is a short cut and is computed
again from the file when it is not at hand (after a restart, a truncation, or for another algorithm).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress

from oci_image.digest import Digest, Hasher
from oci_image.errors import VerificationFailed

from ...errors import StorageFull
from .beginnings import Beginnings
from .durable import begin_flush, list_names, make_directories, storage_errors, write_all
from .layout import flatten, unflatten
from .sessions import Sessions

_FILE_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(sha256|sha512)")
_BLOCK = 1024 * 1024
_FLUSHED = 16 * 1024 * 1024
_VECTOR_LIMIT = 512  # well below IOV_MAX

Publish = Callable[[str, Digest, str], None]
Send = Callable[[Digest, str], None]


def _stays(_digest: Digest, _path: str) -> None:
    """The file is moved when it is published."""


class FileUpload:
    """
    Implements `Upload`.

    Attributes:
        is_empty: whether it has no file yet.
    """

    def __init__(
        self, owner: FileUploads, repository: str, identifier: str, algorithm: str, *, is_empty: bool = False
    ) -> None:
        self._owner = owner
        self._descriptor = -1
        self._hasher: Hasher | None = None
        self._prepared: Digest | None = None
        self._flushed = 0  # the kernel was asked to begin with everything before
        self._algorithm = algorithm
        self.repository = repository
        self.identifier = identifier
        self.is_empty = is_empty
        self.size = 0
        self.used = owner.clock()

    @property
    def path(self) -> str:
        """Where the bytes are."""
        directory = f"{self._owner.directory}/{flatten(self.repository)}"
        return f"{directory}/{self.identifier}.{self._algorithm}"

    @property
    def is_paused(self) -> bool:
        """Whether no request is writing."""
        return self._descriptor < 0

    def resume(self) -> None:
        """Take the size of a file that an earlier process left."""
        with storage_errors():
            self.size = os.stat(self.path, follow_symlinks=False).st_size

    def write(self, parts: Sequence[bytes | memoryview]) -> None:
        """Append bytes; a full disk ends the upload."""
        try:
            with storage_errors():
                for start in range(0, len(parts) if any(parts) else 0, _VECTOR_LIMIT):
                    self._append(parts[start : start + _VECTOR_LIMIT])
        except StorageFull:
            self.discard()
            raise
        self.used = self._owner.clock()

    def _append(self, parts: Sequence[bytes | memoryview]) -> None:
        self._open()
        self._prepared = None
        wanted = sum(map(len, parts))
        if self._hasher is not None:
            for part in parts:
                self._hasher.update(part)
        try:
            written = os.writev(self._descriptor, parts)
            if written < wanted:
                write_all(self._descriptor, b"".join(parts)[written:])
        except OSError:
            self._hasher = None
            self.size = os.fstat(self._descriptor).st_size
            raise
        self.size += wanted
        if self.size - self._flushed >= _FLUSHED:
            begin_flush(self._descriptor, self._flushed, self.size - self._flushed)
            self._flushed = self.size

    def _open(self) -> None:
        if self._descriptor < 0:
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_APPEND
            if self.is_empty:
                make_directories(self._owner.directory, flatten(self.repository))
                flags |= os.O_CREAT  # another process may have made it and failed
            self._descriptor = os.open(self.path, flags, 0o644)
            if self.is_empty:
                self.is_empty = False
                self._hasher = Hasher(self._algorithm)
                self._owner.beginnings.remove(self.identifier)

    def truncate(self, size: int) -> None:
        """Forget the bytes after `size`."""
        if self.is_empty:
            return
        with storage_errors():
            self._open()
            os.ftruncate(self._descriptor, size)
        self._prepared = None
        if size != self.size:
            self._hasher = None
        self.size = size
        self._flushed = min(self._flushed, size)

    def pause(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.used = self._owner.clock()

    def prepare(self, digest: Digest) -> None:
        """Verify, flush, and send the bytes to where they will be if that is elsewhere."""
        try:
            with storage_errors():
                self._open()
                self._verify(digest)
                os.fsync(self._descriptor)
            self._owner.send(digest, self.path)
        except (VerificationFailed, StorageFull):
            self.discard()
            raise
        self._prepared = digest

    def commit(self, digest: Digest) -> None:
        """Prepare, publish."""
        if self._prepared != digest:
            self.prepare(digest)
        try:
            self._owner.publish(self.repository, digest, self.path)
        except (VerificationFailed, StorageFull):
            self.discard()
            raise
        self.pause()
        self._owner.forget(self.identifier)

    def _verify(self, digest: Digest) -> None:
        hasher = self._hasher
        if hasher is None or hasher.algorithm != digest.algorithm:
            hasher = Hasher(digest.algorithm)
            while block := os.pread(self._descriptor, _BLOCK, hasher.size):
                hasher.update(block)
        if hasher.digest() != digest:
            raise VerificationFailed(f"the upload does not have the digest {digest}")

    def discard(self) -> None:
        """Remove the file."""
        self._owner.forget(self.identifier)
        with storage_errors():
            self.pause()
            if self.is_empty:
                self._owner.beginnings.remove(self.identifier)
            with suppress(FileNotFoundError):
                os.unlink(self.path)


class FileUploads(Sessions[FileUpload]):
    """
    Implements `UploadAccess`.

    Args:
        directory: where the uploads are; it exists.
        publish: takes a repository, a digest and a file with its verified and flushed bytes.
        clock: seconds that never jump.
        send: takes a digest and such a file a while before, and leaves it.
    """

    def __init__(
        self, directory: str, publish: Publish, clock: Callable[[], float], *, send: Send = _stays
    ) -> None:
        super().__init__(clock)
        self.directory = directory
        self.publish = publish
        self.send = send
        self.beginnings = Beginnings(f"{directory}.empty")
        self._find_earlier()

    def _find_earlier(self) -> None:
        with storage_errors():
            for directory in list_names(self.directory):
                for name in list_names(f"{self.directory}/{directory}"):
                    if matched := _FILE_NAME.fullmatch(name):
                        upload = FileUpload(self, unflatten(directory), matched.group(1), matched.group(2))
                        upload.resume()
                        self.add(upload)
        for begun in self.beginnings.all():
            if begun.identifier in self._sessions:  # a crash came between
                self.beginnings.remove(begun.identifier)
            else:
                self.add(FileUpload(self, begun.repository, begun.identifier, begun.algorithm, is_empty=True))

    def create(self, repository: str, algorithm: str = "sha256") -> FileUpload:
        """Start an upload."""
        identifier = self.beginnings.add(repository, algorithm)
        return self.add(FileUpload(self, repository, identifier, algorithm, is_empty=True))

    def close(self) -> None:
        """Close every descriptor."""
        for upload in self.all():
            upload.pause()
        self.beginnings.close()
