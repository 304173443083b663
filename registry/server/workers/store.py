"""
The storage as a worker sees it: it reads files and the index by itself, and asks the leading process to
change them.

Invariants: nothing that others may read is written here but the bytes of uploads; what a worker tells a
client about was noted in the shared memory before, where a collection looks.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, cast

from oci_image.digest import Digest

from ..leases import Leases
from ..store.base import StoredManifest, TagCondition
from ..store.durable import read_file, storage_errors
from ..store.file_blobs import FileBlobs
from ..store.file_manifests import FileManifests, FileTags
from ..store.filesystem import FilesystemStore
from ..store.index import Index
from ..store.layout import Layout
from ..store.records import decode_record, encode_record
from .link import Link
from .region import Region
from .uploads import Claims, SharedUploads

if TYPE_CHECKING:
    from ..store.steady import SteadyClock


class WorkerLeases(Leases):
    """Uses that are noted where all processes see them, and told to the leading process in batches."""

    def __init__(self, clock: Callable[[], float], region: Region, link: Link) -> None:
        super().__init__(clock, time.time)
        self._region = region
        self._link = link

    def touch(self, repository: str, digest: Digest) -> bool:
        """Note a use; asks the leading process only about what may be collected at this moment."""
        if not self._region.use(self._region.place(repository, digest), self._clock()):
            answer = self._link.ask("worker.touch", repository=repository, digest=str(digest))
            if not answer["here"]:
                return False
        return super().touch(repository, digest)

    def report(self) -> None:
        """Tell the leading process of the uses since the last time."""
        used, pulled = self.take()
        if used or pulled:
            self._link.ask(
                "worker.uses",
                used=[[name, str(digest), when] for (name, digest), when in used.items()],
                pulled=[[name, str(digest), *when] for (name, digest), when in pulled.items()],
            )


class WorkerBlobs(FileBlobs):
    """Implements `BlobAccess`."""

    def __init__(self, layout: Layout, index: Index, leases: Leases, link: Link) -> None:
        super().__init__(layout, index, leases)
        self._link = link

    def mount(self, repository: str, digest: Digest, source: str) -> bool:
        """Give a repository a blob of another one."""
        return bool(
            self._link.ask("worker.mount", repository=repository, digest=str(digest), source=source)["done"]
        )

    def delete(self, repository: str, digest: Digest, *, keep: str = "") -> bool:
        """Take the blob from the repository."""
        if keep:
            raise NotImplementedError("only the leading process collects")
        return bool(self._link.ask("worker.delete_blob", repository=repository, digest=str(digest))["done"])

    def quarantine(self, digest: Digest) -> None:
        """Put damaged content aside, where nobody reads it."""
        self._link.ask("worker.quarantine", digest=str(digest))

    def adopt(self, repository: str, digest: Digest, path: str) -> None:
        """Move a file, whose bytes were verified and flushed, to its name and give it to the repository."""
        self._link.ask("worker.adopt", repository=repository, digest=str(digest), path=path)


class WorkerTags(FileTags):
    """Implements `TagAccess`."""

    def __init__(self, layout: Layout, index: Index, link: Link) -> None:
        super().__init__(layout, index)
        self._link = link

    def delete(self, repository: str, tag: str, condition: TagCondition | None = None) -> bool:
        """Remove the tag."""
        answer = self._link.ask(
            "worker.delete_tag", repository=repository, tag=tag, condition=encode_condition(condition)
        )
        return bool(answer["done"])


class WorkerManifests(FileManifests):
    """Implements `ManifestAccess`."""

    def __init__(self, layout: Layout, tags: FileTags, index: Index, leases: Leases, link: Link) -> None:
        super().__init__(layout, tags, index, leases)
        self._link = link

    def read(self, repository: str, digest: Digest) -> StoredManifest | None:
        """The manifest; the leading process puts a damaged one aside."""
        with storage_errors():
            data = read_file(self._layout.member(repository, "manifests", digest))
        if data is None:
            return None
        manifest = decode_record(data, digest)
        if manifest is None:
            self._link.ask("worker.verify", repository=repository, digest=str(digest))
        return manifest

    def put(
        self,
        repository: str,
        manifest: StoredManifest,
        tags: Sequence[str] = (),
        condition: TagCondition | None = None,
        immutable: Collection[str] = (),
    ) -> None:
        """Keep the manifest, then its tags."""
        self._link.ask(
            "worker.put",
            encode_record(manifest),
            repository=repository,
            digest=str(manifest.digest),
            tags=list(tags),
            condition=encode_condition(condition),
            immutable=list(immutable),
        )

    def delete(
        self,
        repository: str,
        digest: Digest,
        *,
        is_immutable: Callable[[str], bool] | None = None,
        keep: str = "",
    ) -> bool:
        """Remove the tags, then the manifest; the leading process knows which tags are immutable."""
        if keep:
            raise NotImplementedError("only the leading process collects")
        guarded = is_immutable is not None
        answer = self._link.ask(
            "worker.delete_manifest", repository=repository, digest=str(digest), guarded=guarded
        )
        return bool(answer["done"])


def encode_condition(condition: TagCondition | None) -> dict[str, list[str] | None] | None:
    """A condition as JSON."""
    if condition is None:
        return None
    parts = {"match": condition.match, "none_match": condition.none_match}
    return {name: None if part is None else sorted(part) for name, part in parts.items()}


class WorkerStore(FilesystemStore):
    """
    Implements `RegistryStore` in a directory that the leading process keeps.

    Args:
        root: the directory.
        clock: seconds for grace periods, as the leading process counts them.
        region: what the processes share.
        slot: number of this worker.
        claims: who works on which upload.
        link: leads to the leading process.
    """

    def __init__(
        self, root: str, clock: SteadyClock, *, region: Region, slot: int, claims: Claims, link: Link
    ) -> None:
        self.layout = Layout(os.path.abspath(root))
        self._link = link
        self.clock = clock
        self.index = Index(self.layout.index, clock, time.time)
        self.worker_leases = WorkerLeases(clock, region, link)
        self.leases = self.worker_leases
        self.blobs = WorkerBlobs(self.layout, self.index, self.leases, link)
        self.tags = WorkerTags(self.layout, self.index, link)
        self.manifests = WorkerManifests(self.layout, self.tags, self.index, self.leases, link)
        self.uploads = SharedUploads(
            self.layout.uploads, self.blobs.adopt, time.monotonic, region=region, slot=slot, claims=claims
        )
        # Held while content becomes a repository's, so it must keep the other processes out as well.
        self.quota_lock = cast("threading.RLock", _FileLock(f"{self.layout.root}/quota.lock"))

    def remove_repository(self, repository: str) -> bool:
        """Remove the manifests, tags and blobs of a repository."""
        return bool(self._link.ask("worker.remove", repository=repository)["done"])

    def close(self) -> None:
        """Tell of the last uses; uploads in progress stay."""
        self.uploads.close()
        try:
            self.worker_leases.report()
        finally:
            self._link.close()
            self.index.close()


class _FileLock:
    """A lock of all threads of all processes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._held = threading.local()

    def __enter__(self) -> None:
        if getattr(self._held, "file", None) is not None:
            raise RuntimeError("this lock is not taken twice")
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._held.file = descriptor

    def __exit__(self, *_exception: object) -> None:
        descriptor, self._held.file = self._held.file, None
        os.close(descriptor)
