"""
A registry's storage in a directory: how the parts fit together, and what is done when nothing else is.

Invariants: see `layout` for the files, `durable` for how they change, `index` for what is derived from them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from oci_image.digest import Digest

from ..gc_log import DeletionLog
from ..leases import Leases
from .base import NO_LIMIT
from .durable import storage_errors
from .file_blobs import FileBlobs
from .file_manifests import FileManifests, FileTags
from .file_uploads import FileUploads
from .image_layout import write_image_layout
from .layout import take
from .rebuilding import drop_index, migrate, open_index, rebuild, reindex
from .steady import SteadyClock, boot_identifier

_SAVE_SECONDS = 60.0  # an idle registry leaves the disk alone
_PATIENCE = 15  # rounds after which a repository that changes all the time is settled as well


class FilesystemStore:
    """
    Implements `RegistryStore` in a directory, of which it is the only user until `close`.

    Args:
        root: the directory; it is created.
        clock: seconds that never jump, for the age of uploads and for grace periods.
        wall: seconds since the epoch.

    Raises:
        InvalidConfiguration: another registry uses the directory, or it cannot be written.
    """

    def __init__(
        self,
        root: str,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.layout, self._lock_descriptor = take(root)
        try:
            self._open(clock, wall)
        except BaseException:
            os.close(self._lock_descriptor)
            raise

    def _open(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        boot = boot_identifier()
        self.index = open_index(self.layout, clock, wall)
        saved = self.index.meta("clock")
        left_running = self.index.meta("running")
        if left_running and left_running != boot:  # the machine went down: the index was not flushed
            self.index.close()
            drop_index(self.layout)
            self.index = open_index(self.layout, clock, wall)
        self.clock = SteadyClock(clock, saved, boot)
        self.index.clock = self.clock
        self.leases = Leases(self.clock, wall)
        migrate(self.layout)
        if self.index.is_new:
            rebuild(self.layout, self.index)
        else:
            for repository in self.index.stale():
                reindex(self.layout, self.index, repository)
        if left_running or self.index.is_new:
            # Uses that were not written down yet are lost: whatever is here counts as used now.
            self.index.set_meta("born", repr(self.clock()))
        self.index.set_meta("running", boot or "unknown")
        self.blobs = FileBlobs(self.layout, self.index, self.leases)
        self.tags = FileTags(self.layout, self.index)
        self.manifests = FileManifests(self.layout, self.tags, self.index, self.leases)
        self.deletions = DeletionLog(self.layout.trash)
        self._saved = -_SAVE_SECONDS
        self.quota_lock = threading.RLock()
        self._restless: dict[str, tuple[int, int]] = {}
        self.uploads = FileUploads(self.layout, self.blobs.adopt, clock)

    def write_down(self) -> None:
        """Write uses to the index, and the time that the grace periods have reached."""
        used, pulled = self.leases.take()
        if used or pulled or self.clock() - self._saved >= _SAVE_SECONDS:
            self._saved = self.clock()
            self.index.note_uses(used, pulled)
            self.index.set_meta("clock", self.clock.save())

    def settle(self, limit: int = 1000) -> int:
        """
        Make the directories of repositories that changed current as image layouts; returns how many.

        A repository that changes meanwhile stays for the next time.
        """
        done = 0
        for repository in self.index.stale()[:limit]:
            done += self._settle_one(repository)
        return done

    def _settle_one(self, repository: str) -> bool:
        with self.tags.lock(repository), storage_errors():
            changes = self.index.changes(repository)
            write_image_layout(self.layout, self.index, repository)
            return self.index.settle(repository, changes)

    def remove_repository(self, repository: str) -> bool:
        """Remove the manifests, tags and blobs of a repository; False when there is none of that name."""
        if not self.index.exists(repository):
            return False
        for (text,) in self.index.rows("SELECT digest FROM manifests WHERE repository = ?", repository):
            self.manifests.delete(repository, Digest.parse(text))
        for name in self.index.tag_names(repository, "", NO_LIMIT):
            self.tags.remove(repository, name)
        for (text,) in self.index.rows("SELECT digest FROM blobs WHERE repository = ?", repository):
            self.blobs.delete(repository, Digest.parse(text))
        return True

    def settle_quiet(self) -> None:
        """Settle repositories that did not change since the last call, or change all the time; write down."""
        quiet = set()
        seen: dict[str, int] = {}
        for repository in self.index.stale():
            seen[repository] = self.index.changes(repository)
            earlier, rounds = self._restless.get(repository, (-1, 0))
            if earlier == seen[repository] or rounds >= _PATIENCE:
                quiet.add(repository)
        for repository in quiet:
            self._settle_one(repository)
        self._restless = {
            name: (count, self._restless.get(name, (0, 0))[1] + 1)
            for name, count in seen.items()
            if name not in quiet
        }
        self.write_down()

    def close(self) -> None:
        """Release the directory; uploads in progress stay."""
        if self._lock_descriptor < 0:
            return
        self.uploads.close()
        try:
            self.settle(100_000)
            self._saved = -_SAVE_SECONDS
            self.write_down()
            self.index.set_meta("running", "")
        finally:
            self.deletions.close()
            self.index.close()
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1
