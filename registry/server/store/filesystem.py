"""
A registry's storage in a directory: how the parts fit together, and what is done when nothing else is.

Invariants: see `layout` for the files, `durable` for how they change, `index` for what is derived from them.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

from ...errors import StorageProblem
from ..gc_log import DeletionLog
from .durable import storage_errors
from .file_blobs import FileBlobs
from .file_manifests import FileManifests, FileTags
from .file_trash import FileTrash
from .file_uploads import FileUploads
from .image_layout import is_hollow, write_image_layout
from .indexed import IndexedStore
from .layout import flatten, take
from .rebuilding import migrate, rebuild, reindex


class FilesystemStore(IndexedStore):
    """
    Implements `RegistryStore` in a directory, of which it is the only user until `close`.

    Args:
        root: the directory; it is created.
        clock: seconds that never jump, for the age of uploads and for grace periods.
        wall: seconds since the epoch.

    Raises:
        InvalidConfiguration: another registry uses the directory, or it cannot be written.
    """

    blobs: FileBlobs
    tags: FileTags
    manifests: FileManifests

    def __init__(
        self,
        root: str,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.layout, self._lock_descriptor = take(root)
        self.directory = self.layout.root
        try:
            self._open(clock, wall)
        except BaseException:
            os.close(self._lock_descriptor)
            raise

    def _open(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._open_index(self.layout.index, clock, wall)
        migrate(self.layout)
        if self.index.is_new:
            self.rebuild()
        else:
            for repository in self.index.stale():
                reindex(self.layout, self.index, repository)
        self._begin()
        self.blobs = FileBlobs(self.layout, self.index, self.leases)
        self.tags = FileTags(self.layout, self.index)
        self.manifests = FileManifests(self.layout, self.tags, self.index, self.leases)
        self.deletions = DeletionLog(f"{self.layout.trash}/deletions.db", self.layout.trash)
        self.trash = FileTrash(self.layout.temporary, self.blobs)
        self.uploads = FileUploads(self.layout.uploads, self.blobs.adopt, clock)

    def rebuild(self) -> None:
        """Make the index again from the files."""
        rebuild(self.layout, self.index)

    def _settle_one(self, repository: str) -> bool:
        """Make the directory of the repository current as an image layout; without content it goes."""
        with self.tags.lock(repository), storage_errors():
            changes = self.index.changes(repository)
            if self.index.take_doubt(repository):
                self._read_again(repository)
            if self._vacate(repository, changes):
                return True
            write_image_layout(self.layout, self.index, repository)
            return self.index.settle(repository, changes)

    def _vacate(self, repository: str, changes: int) -> bool:
        directory = f"{self.layout.repositories}/{flatten(repository)}"
        if self.index.exists(repository) or not is_hollow(directory):
            return False
        aside = f"{self.layout.temporary}/{uuid.uuid4()}"

        def take_away() -> None:
            with suppress(FileNotFoundError):
                os.rename(directory, aside)

        if not self.index.vacate(repository, changes, take_away):
            return False
        shutil.rmtree(aside, ignore_errors=True)  # what is left goes at the next start
        return True

    def _read_again(self, repository: str) -> None:
        try:
            reindex(self.layout, self.index, repository)
        except StorageProblem:
            self.index.doubt(repository)
            raise

    def _release(self) -> None:
        os.close(self._lock_descriptor)
