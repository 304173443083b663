"""
Garbage collection while the registry runs.

Invariants: what goes was decided on with a recorded reason; what was used within the grace period, or is used
between the decision and the deletion, stays, with everything that it needs; no lock is held over more than
one deletion, so pushes go on; files move to the trash, from where they can be brought back for a while; the
next collection goes on with one that was killed.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from oci_image.digest import Digest

from ..gc_log import Deletion, Record
from ..leases import Key
from ..store.indexed import IndexedStore
from .gc_marks import Marks, mark

Finish = Callable[[str, Sequence[Key]], None]
_BATCH = 500
# Something that was used meanwhile keeps what it needs: it comes before that in the order of deletion.
_STILL_NEEDED = (
    "SELECT 1 FROM tags WHERE repository = ? AND digest = ? UNION ALL "
    "SELECT 1 FROM links WHERE repository = ? AND child = ? UNION ALL "
    "SELECT 1 FROM manifests AS m JOIN manifests AS s "
    "ON s.repository = m.repository AND s.digest = m.subject "
    "WHERE m.repository = ? AND m.digest = ? LIMIT 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GcReport:
    """
    What a collection did, or would do.

    Attributes:
        deletions: what went, with reasons.
        purged: files that left the trash.
        waiting: seconds until everything may be collected; the uses before a crash are not known.
    """

    deletions: list[Deletion] = field(default_factory=list)
    purged: int = 0
    waiting: float = 0.0

    @property
    def freed(self) -> int:
        """Bytes of content that nothing needs any more."""
        return sum(item.size for item in self.deletions if item.kind in ("content", "manifest"))


class Collector:
    """
    Collects the garbage of one storage.

    Args:
        store: the open storage.
        grace: seconds for which what nothing needs stays after its last use.
        undelete: seconds for which what was collected can be brought back.
        finish: called with a repository and what went from it, when nobody may see it any more; it must call
            `store.leases.release`.
        grace_of: the grace of a repository where it is another one.
    """

    def __init__(
        self,
        store: IndexedStore,
        *,
        grace: float,
        undelete: float,
        finish: Finish | None = None,
        grace_of: Callable[[str], float] | None = None,
    ) -> None:
        self._store = store
        self._undelete = undelete
        self._grace_of = grace_of or (lambda _repository: grace)
        self._finish: Finish = finish or (lambda _repository, keys: store.leases.release(keys))
        self._running = threading.Lock()
        self.stopped = threading.Event()

    def collect(self, *, dry_run: bool = False) -> GcReport:
        """Remove what nothing needs, repository by repository; with `dry_run`, only say what that is."""
        store = self._store
        with self._running:
            store.catch_up()
            store.write_down()
            now = store.clock()
            born, waiting = float(store.index.meta("born") or "-inf"), 0.0
            run = uuid.uuid4().hex
            done: list[Deletion] = []
            gone: set[Key] = set()
            for (repository,) in store.index.rows("SELECT name FROM repositories ORDER BY name"):
                if self.stopped.is_set():
                    return GcReport(deletions=done)
                since = now - self._grace_of(repository)
                if born > since:
                    waiting = max(waiting, born - since)
                    continue
                done += self._collect_repository(run, repository, since, gone, dry_run=dry_run)
            done += self._collect_content(run, gone, dry_run=dry_run)
            purged = 0 if dry_run else self._purge(now - self._undelete)
            return GcReport(deletions=done, purged=purged, waiting=waiting)

    def _purge(self, before: float) -> int:
        found = self._store.deletions.kept_before(before)
        for record in found:
            self._store.trash.purge(record)
        self._store.deletions.set_state([record.number for record in found], "purged")
        return len(found)

    def _collect_repository(
        self, run: str, repository: str, since: float, gone: set[Key], *, dry_run: bool
    ) -> list[Deletion]:
        index = self._store.index
        marks = mark(index, repository, since)
        manifests = [
            Deletion(
                kind="manifest",
                repository=repository,
                digest=Digest.parse(digest),
                size=marks.sizes[digest],
                reason=reason,
            )
            for digest, reason in marks.dead.items()
        ]
        if not dry_run and manifests:
            removed = self._remove(run, manifests, since, self._remove_manifest)
            if len(removed) < len(manifests):
                marks = mark(index, repository, since)  # something was used meanwhile
            manifests = removed
        blobs = list(_dead_blobs(marks, repository, since, index.clock()))
        if dry_run:
            gone |= {(repository, item.digest) for item in blobs}
        elif blobs:
            blobs = self._remove(run, blobs, since, self._remove_blob)
        return manifests + blobs

    def _remove(
        self, run: str, deletions: Sequence[Deletion], since: float, remove: Callable[[Record], bool]
    ) -> list[Deletion]:
        """Decide, record, delete, and let everybody know; in batches."""
        leases, log = self._store.leases, self._store.deletions
        done: list[Deletion] = []
        for start in range(0, len(deletions), _BATCH):
            batch = {(item.repository, item.digest): item for item in deletions[start : start + _BATCH]}
            chosen = leases.condemn(batch, since)
            spared: list[int] = []
            try:
                # In their order: an image goes before what refers to it, since that is needed until then.
                going = [item for key, item in batch.items() if key in chosen]
                records = log.record(run, going, self._store.index.wall(), self._store.clock())
                for record in records:
                    if not self.stopped.is_set() and remove(record):
                        done.append(record.deletion)
                    else:
                        spared.append(record.number)
                log.set_state(spared, "spared")
            finally:
                for repository in {key[0] for key in chosen}:
                    self._finish(repository, [key for key in chosen if key[0] == repository])
        return done

    def _remove_manifest(self, record: Record) -> bool:
        store, item = self._store, record.deletion
        with store.tags.lock(item.repository):
            if not store.leases.is_condemned(item.repository, item.digest):
                return False
            if store.index.rows(_STILL_NEEDED, *(item.repository, str(item.digest)) * 3):
                return False
            return store.manifests.delete(item.repository, item.digest, keep=record.path)

    def _remove_blob(self, record: Record) -> bool:
        store, item = self._store, record.deletion
        with store.blobs.lock(item.digest):
            if not store.leases.is_condemned(item.repository, item.digest):
                return False
            if store.index.rows(
                "SELECT 1 FROM links WHERE repository = ? AND child = ? LIMIT 1",
                item.repository,
                str(item.digest),
            ):
                return False
            return store.blobs.delete(item.repository, item.digest, keep=record.path)

    def _collect_content(self, run: str, gone: set[Key], *, dry_run: bool) -> list[Deletion]:
        """Bytes that no repository has, whether they were collected or left behind by a crash."""
        store = self._store
        found = []
        for digest in store.blobs.contents():
            holders = {name for name in store.index.holders(digest) if (name, digest) not in gone}
            if holders or self.stopped.is_set():
                continue
            size = store.blobs.content_size(digest)
            if size is None:
                continue
            found.append(
                Deletion(
                    kind="content",
                    repository="",
                    digest=digest,
                    size=size,
                    reason="no repository has the blob",
                )
            )
        if dry_run:
            return found
        done = []
        for start in range(0, len(found), _BATCH):
            batch = found[start : start + _BATCH]
            records = store.deletions.record(run, batch, store.index.wall(), store.clock())
            removed = [
                record
                for record in records
                if store.blobs.remove_content(record.deletion.digest, record.path)
            ]
            kept = {record.number for record in removed}
            store.deletions.set_state([r.number for r in records if r.number not in kept], "spared")
            done += [record.deletion for record in removed]
        return done


def _dead_blobs(marks: Marks, repository: str, since: float, now: float) -> Iterable[Deletion]:
    for text, size, seen in marks.blobs:
        if seen <= since and text not in marks.kept_blobs:
            reason = (
                "no manifest of the repository refers to it; last used "
                f"{now - seen:.0f} seconds ago, more than the grace of {now - since:.0f}"
            )
            yield Deletion(
                kind="blob", repository=repository, digest=Digest.parse(text), size=size, reason=reason
            )
