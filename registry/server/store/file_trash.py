"""
What was collected from a directory, as files that can be brought back.

Invariant: bytes are verified before anybody can read them again.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress

from oci_image.digest import Hasher

from ...errors import RegistryError
from ..gc_log import Record
from .durable import read_file, storage_errors
from .file_blobs import FileBlobs
from .links import share

_BLOCK = 1024 * 1024


class FileTrash:
    """
    Implements `Trash`.

    Args:
        temporary: directory for files on their way back.
        blobs: where they go.
    """

    def __init__(self, temporary: str, blobs: FileBlobs) -> None:
        self._temporary = temporary
        self._blobs = blobs

    def has(self, record: Record) -> bool:
        """Whether the file is there."""
        return os.path.lexists(record.path)

    def read(self, record: Record) -> bytes | None:
        """The bytes of the file."""
        with storage_errors():
            return read_file(record.path)

    def restore_blob(self, record: Record) -> None:
        """Give the blob back to its repository."""
        self._blobs.adopt(record.deletion.repository, record.deletion.digest, self._stage(record))

    def restore_content(self, record: Record) -> None:
        """Bring the bytes back."""
        self._blobs.adopt_content(record.deletion.digest, self._stage(record))

    def discard(self, record: Record) -> None:
        """Remove the file."""
        with storage_errors(), suppress(FileNotFoundError):
            os.unlink(record.path)

    def purge(self, record: Record) -> None:
        """Remove the file."""
        self.discard(record)

    def _stage(self, record: Record) -> str:
        """Another name of the file, whose bytes are what they should be."""
        name = str(uuid.uuid4())
        staged = f"{self._temporary}/{name}"
        hasher = Hasher(record.deletion.digest.algorithm)
        with storage_errors():
            share(record.path, self._temporary, self._temporary, name)
            with open(staged, "rb", buffering=0) as file:
                while block := file.read(_BLOCK):
                    hasher.update(block)
            if hasher.digest() != record.deletion.digest:
                os.unlink(staged)
                raise RegistryError(f"the file of {record.deletion.digest} in the trash is damaged")
        return staged
