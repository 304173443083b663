"""
What storages with an index share: grace periods, uses, totals, and what looking after them needs.

Invariants: the storage is the truth and the index follows it; a repository that changed is settled when it
was quiet, or when it changes all the time.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from oci_image.digest import Digest

from ..gc_log import DeletionLog, Record
from ..leases import Leases
from .base import NO_LIMIT, BlobAccess, ManifestAccess, TagAccess, Totals
from .file_uploads import FileUploads
from .index import Index
from .rebuilding import drop_index, open_index
from .steady import SteadyClock, boot_identifier

_SAVE_SECONDS = 60.0  # an idle registry leaves the disk alone
_PATIENCE = 15  # rounds after which a repository that changes all the time is settled as well


class CollectedBlobs(BlobAccess, Protocol):
    """Blobs that a collection can take away and a scrub can read."""

    def lock(self, digest: Digest) -> threading.RLock:
        """The lock for changes to content and members of the digest."""
        ...

    def open_content(self, digest: Digest) -> BinaryIO | None:
        """A reader of the content, whoever has it; None when it is gone."""
        ...

    def content_size(self, digest: Digest) -> int | None:
        """The bytes of the content, whoever has it; None when it is gone."""
        ...

    def contents(self) -> Iterator[Digest]:
        """The digests of all content that was not collected, whether a repository has it or not."""
        ...

    def delete(self, repository: str, digest: Digest, *, keep: str = "") -> bool:
        """As in `BlobAccess`; what is removed can be brought back from `keep`."""
        ...

    def remove_content(self, digest: Digest, keep: str) -> bool:
        """Collect content, which can be brought back from `keep`, unless a repository has it after all."""
        ...


class CollectedManifests(ManifestAccess, Protocol):
    """Manifests that a collection can take away and a scrub can read."""

    def verify(self, repository: str, digest: Digest) -> bool:
        """Read the manifest without counting that as a use; False when it was damaged."""
        ...

    def delete(
        self,
        repository: str,
        digest: Digest,
        *,
        is_immutable: Callable[[str], bool] | None = None,
        keep: str = "",
    ) -> bool:
        """As in `ManifestAccess`; what is removed can be brought back from `keep`."""
        ...


class LockedTags(TagAccess, Protocol):
    """Tags that can be held still."""

    def lock(self, repository: str) -> threading.RLock:
        """The lock for changes to the repository."""
        ...

    def remove(self, repository: str, tag: str) -> None:
        """Remove the tag, whatever it stands for."""
        ...


class Trash(Protocol):
    """What was collected and can be brought back."""

    def has(self, record: Record) -> bool:
        """Whether it is there."""
        ...

    def read(self, record: Record) -> bytes | None:
        """The stored bytes of a manifest; None when they are gone."""
        ...

    def restore_blob(self, record: Record) -> None:
        """
        Give the blob back to its repository; its bytes are verified.

        Raises:
            RegistryError: they are damaged or gone.
        """
        ...

    def restore_content(self, record: Record) -> None:
        """As `restore_blob`, for the bytes of no repository."""
        ...

    def discard(self, record: Record) -> None:
        """Forget it, now that it was brought back; a no-op when it is not there."""
        ...

    def purge(self, record: Record) -> None:
        """Remove it for ever; a no-op when it is not there."""
        ...


class IndexedStore(ABC):
    """A `RegistryStore` with an index, of which one process is the only user until `close`."""

    blobs: CollectedBlobs
    manifests: CollectedManifests
    tags: LockedTags
    uploads: FileUploads
    index: Index
    clock: SteadyClock
    leases: Leases
    deletions: DeletionLog
    trash: Trash
    directory: str
    """Where it keeps what belongs to this process alone."""

    def __init__(self) -> None:
        self.quota_lock = threading.RLock()
        self._saved = -_SAVE_SECONDS
        self._restless: dict[str, tuple[int, int]] = {}
        self._was_killed = False
        self._is_open = True

    def _open_index(self, path: str, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        boot = boot_identifier()
        self.index = open_index(path, clock, wall)
        saved = self.index.meta("clock")
        left_running = self.index.meta("running")
        if left_running and left_running != boot:  # the machine went down: the index was not flushed
            self.index.close()
            drop_index(path)
            self.index = open_index(path, clock, wall)
        self._was_killed = bool(left_running)
        self.clock = SteadyClock(clock, saved, boot)
        self.index.clock = self.clock
        self.leases = Leases(self.clock, wall)

    def _begin(self) -> None:
        """Say that the index is current, and that it will not be when the process is killed."""
        if self._was_killed or self.index.is_new:
            # Uses that were not written down yet are lost: whatever is here counts as used now.
            self.index.set_meta("born", repr(self.clock()))
        self.index.set_meta("running", boot_identifier() or "unknown")

    @abstractmethod
    def rebuild(self) -> None:
        """Make the index again."""

    @abstractmethod
    def _settle_one(self, repository: str) -> bool: ...

    @abstractmethod
    def _release(self) -> None: ...

    def catch_up(self) -> None:
        """Learn what others changed in the storage; a no-op where there are no others."""
        return

    def totals(self, repository: str) -> Totals:
        """How much the repository holds."""
        return self.index.totals(repository)

    def usage(self) -> Totals:
        """How much all repositories hold together."""
        return self.index.usage()

    def write_down(self) -> None:
        """Write uses to the index, and the time that the grace periods have reached."""
        used, pulled = self.leases.take()
        if used or pulled or self.clock() - self._saved >= _SAVE_SECONDS:
            self._saved = self.clock()
            self.index.note_uses(used, pulled)
            self.index.set_meta("clock", self.clock.save())

    def settle(self, limit: int = 1000) -> int:
        """
        Take note that repositories that changed are as the index says; returns how many.

        A repository that changes meanwhile stays for the next time.
        """
        done = 0
        for repository in self.index.stale()[:limit]:
            done += self._settle_one(repository)
        return done

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

    def close(self) -> None:
        """Release the storage; uploads in progress stay."""
        if not self._is_open:
            return
        self._is_open = False
        self.uploads.close()
        try:
            self.settle(100_000)
            self._saved = -_SAVE_SECONDS
            self.write_down()
            self.index.set_meta("running", "")
        finally:
            self.deletions.close()
            self.index.close()
            self._release()
