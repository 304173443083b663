"""
A registry's storage in a bucket: how the parts fit together.

Invariants: the bucket is the truth; the directory beside it has the index, which can be made again, the log
of deletions, which the bucket has as well, and uploads in progress, which belong to this registry alone. See
`bucket_layout` for the objects.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ...errors import InvalidConfiguration, StorageProblem, StorageUnavailable
from . import bucket_layout as keys
from .bucket import Bucket
from .bucket_blobs import BucketBlobs
from .bucket_manifests import BucketManifests, BucketTags
from .bucket_sweep import Sweep
from .bucket_trash import BucketLog, BucketTrash
from .durable import read_file, replace_file, storage_errors
from .file_uploads import FileUploads
from .indexed import IndexedStore
from .layout import claim


class BucketStore(IndexedStore):
    """
    Implements `RegistryStore` in a bucket.

    Args:
        bucket: the part of it that belongs to the registry.
        url: what the state is for; content of another bucket is refused.
        state: a directory, of which it is the only user until `close`; it is created.
        refresh: seconds between looks for what other registries changed; 0 where there are none.
        clock: seconds that never jump, for the age of uploads and for grace periods.
        wall: seconds since the epoch.
        closed: called at the end of `close`.

    Raises:
        InvalidConfiguration: the bucket or the directory cannot be used.
    """

    blobs: BucketBlobs
    tags: BucketTags
    manifests: BucketManifests
    deletions: BucketLog

    def __init__(
        self,
        bucket: Bucket,
        url: str,
        state: str,
        *,
        refresh: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._closed = closed
        self._bucket = bucket
        self._refresh = refresh
        self._steps = clock
        self._refreshed = clock()
        self.directory, self._lock_descriptor = claim(state)
        try:
            self._open(url, self.directory, clock, wall)
        except StorageUnavailable as problem:
            os.close(self._lock_descriptor)
            raise InvalidConfiguration(
                f"cannot use {url}: {problem.reason}", hint="check its name, the endpoint and the credentials"
            ) from None
        except BaseException:
            os.close(self._lock_descriptor)
            raise

    @property
    def is_shared(self) -> bool:
        """Whether other registries write to the bucket."""
        return self._refresh > 0

    def _open(self, url: str, state: str, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        _check_owner(state, url)
        self._bucket.has_any(keys.REPOSITORIES)  # a wrong name is known before anybody pushes
        self._open_index(f"{state}/index.db", clock, wall)
        self.deletions = BucketLog(f"{state}/deletions.db", self._bucket)
        self.blobs = BucketBlobs(
            self._bucket, self.index, self.leases, self.deletions.marked, is_shared=self.is_shared
        )
        self.tags = BucketTags(self._bucket, self.index)
        self.manifests = BucketManifests(self._bucket, self.tags, self.index, self.leases)
        self.trash = BucketTrash(self._bucket, self.blobs)
        self._sweep = Sweep(self._bucket, self.index, self.blobs, self.tags)
        if self.deletions.is_empty():
            self.deletions.recover(self.clock())
        if self.index.is_new or self.index.stale():
            self._sweep.everything()
        self._begin()
        with storage_errors():
            for name in ("uploads", "incoming"):
                os.makedirs(f"{state}/{name}", mode=0o755, exist_ok=True)
        self.uploads = FileUploads(f"{state}/uploads", self.blobs.adopt, clock, send=self.blobs.send)

    def rebuild(self) -> None:
        """Make the index again from the objects."""
        pulled = self.index.rows("SELECT repository, digest, pulled FROM manifests WHERE pulled IS NOT NULL")
        for (name,) in self.index.rows("SELECT name FROM repositories"):
            self.index.forget_manifests(name)
        self._sweep.everything()
        for row in pulled:
            self.index.set_pulled(*row)

    def catch_up(self) -> None:
        """Learn what other registries changed."""
        if self.is_shared:
            self._refreshed = self._steps()
            self._sweep.everything()

    def settle_quiet(self) -> None:
        """As in `IndexedStore`; also look at what others did."""
        if self.is_shared and self._steps() - self._refreshed >= self._refresh:
            self.catch_up()
        super().settle_quiet()

    def problem(self, *, read_only: bool) -> str:
        """Why no work can be done; empty if nothing is wrong."""
        try:
            if read_only:
                self._bucket.head(keys.READY)
            else:
                self._bucket.write(keys.READY, b"ready\n")
        except StorageUnavailable:
            return "the bucket cannot be reached" if read_only else "the bucket cannot be written"
        return ""

    def _settle_one(self, repository: str) -> bool:
        if self.index.take_doubt(repository):
            self._read_again(repository)
        changes = self.index.changes(repository)
        return self.index.vacate(repository, changes, lambda: None) or self.index.settle(repository, changes)

    def _read_again(self, repository: str) -> None:
        try:
            self._sweep.repository(repository)
        except StorageProblem:
            self.index.doubt(repository)
            raise

    def _release(self) -> None:
        os.close(self._lock_descriptor)
        self._closed()


def _check_owner(state: str, url: str) -> None:
    with storage_errors():
        owner = read_file(f"{state}/bucket")
        if owner is None:
            replace_file(state, state, "bucket", url.encode())
        elif owner.decode(errors="replace") != url:
            raise InvalidConfiguration(
                f"{state} belongs to another bucket", hint="choose another directory for the state"
            )
