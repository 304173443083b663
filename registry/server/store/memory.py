"""
A registry's storage in memory: for tests and for registries that live as long as a process.

Invariant: one lock around every state change; bytes are immutable once they are published.
"""

from __future__ import annotations

import io
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import BinaryIO

from oci_image.digest import Digest
from oci_image.errors import VerificationFailed

from .base import NO_LIMIT, StoredManifest, TagCondition, Totals, check_immutable
from .sessions import Sessions


def _never(_tag: str) -> bool:
    return False


class MemoryStore:
    """Implements `RegistryStore`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        lock = threading.RLock()
        self.blobs = _Blobs(lock)
        self.tags = _Tags(lock, self.blobs)
        self.manifests = _Manifests(lock, self.tags)
        self.uploads = _Uploads(self.blobs, clock)

    def remove_repository(self, repository: str) -> bool:
        """Remove the manifests, tags and blobs of a repository."""
        return self.manifests.remove_all(repository)

    def totals(self, repository: str) -> Totals:
        """Count what the repository holds."""
        return self.manifests.totals(repository)

    def usage(self) -> Totals:
        """Count what all repositories hold together."""
        return self.manifests.usage()

    def close(self) -> None:
        """Nothing to release."""


class _Blobs:
    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._content: dict[Digest, bytes] = {}
        self.members: dict[str, set[Digest]] = {}

    def publish(self, repository: str, digest: Digest, content: bytes) -> None:
        with self._lock:
            self._content[digest] = content
            self.members.setdefault(repository, set()).add(digest)

    def _get(self, repository: str, digest: Digest) -> bytes | None:
        with self._lock:
            return self._content.get(digest) if digest in self.members.get(repository, ()) else None

    def stat(self, repository: str, digest: Digest) -> int | None:
        content = self._get(repository, digest)
        return None if content is None else len(content)

    def open(self, repository: str, digest: Digest) -> BinaryIO | None:
        content = self._get(repository, digest)
        return None if content is None else io.BytesIO(content)

    def touch(self, repository: str, digest: Digest) -> bool:
        del repository, digest  # nothing is collected: content goes with its last repository
        return True

    def mount(self, repository: str, digest: Digest, source: str) -> bool:
        with self._lock:
            if self._get(source, digest) is None:
                return False
            self.members.setdefault(repository, set()).add(digest)
            return True

    def holders(self, digest: Digest) -> Iterator[str]:
        with self._lock:
            if digest not in self._content:
                return iter(())
            return iter([name for name, members in self.members.items() if digest in members])

    def delete(self, repository: str, digest: Digest) -> bool:
        with self._lock:
            if digest not in self.members.get(repository, ()):
                return False
            self.members[repository].discard(digest)
            if not any(digest in members for members in self.members.values()):
                self._content.pop(digest, None)
            return True

    def quarantine(self, digest: Digest) -> None:
        with self._lock:
            self._content.pop(digest, None)


class _Tags:
    def __init__(self, lock: threading.RLock, blobs: _Blobs) -> None:
        self._lock = lock
        self._blobs = blobs
        self.table: dict[str, dict[str, Digest]] = {}
        self.manifests: dict[str, dict[Digest, StoredManifest]] = {}

    def get(self, repository: str, tag: str) -> Digest | None:
        with self._lock:
            return self.table.get(repository, {}).get(tag)

    def names(self, repository: str, after: str = "", limit: int = NO_LIMIT) -> Sequence[str] | None:
        with self._lock:
            known = self.manifests.get(repository) or self._blobs.members.get(repository)
            names = sorted(name for name in self.table.get(repository, ()) if name > after)
            return names[:limit] if known else None

    def delete(self, repository: str, tag: str, condition: TagCondition | None = None) -> bool:
        with self._lock:
            tags = self.table.get(repository, {})
            if tag not in tags:
                return False
            if condition is not None:
                condition.check(tags[tag])
            del tags[tag]
            return True

    def remove_blobs(self, repository: str) -> bool:
        with self._lock:
            members = list(self._blobs.members.get(repository, ()))
            for digest in members:
                self._blobs.delete(repository, digest)
            return bool(members)

    def blob_sizes(self, repository: str) -> list[int]:
        with self._lock:
            sizes = [self._blobs.stat(repository, one) for one in self._blobs.members.get(repository, ())]
            return [size for size in sizes if size is not None]

    def all_sizes(self) -> list[int]:
        with self._lock:
            held = {one: name for name, members in self._blobs.members.items() for one in members}
            sizes = [self._blobs.stat(name, one) for one, name in held.items()]
            return [size for size in sizes if size is not None]

    def repositories(self, after: str = "", limit: int = NO_LIMIT) -> Sequence[str]:
        with self._lock:
            return sorted(name for name, held in self.manifests.items() if held and name > after)[:limit]


class _Manifests:
    def __init__(self, lock: threading.RLock, tags: _Tags) -> None:
        self._lock = lock
        self._tags = tags

    def get(self, repository: str, digest: Digest) -> StoredManifest | None:
        with self._lock:
            return self._tags.manifests.get(repository, {}).get(digest)

    def touch(self, repository: str, digest: Digest) -> bool:
        del repository, digest
        return True

    def put(
        self,
        repository: str,
        manifest: StoredManifest,
        tags: Sequence[str] = (),
        condition: TagCondition | None = None,
        immutable: Collection[str] = (),
    ) -> None:
        with self._lock:
            table = self._tags.table.setdefault(repository, {})
            for tag in immutable:
                check_immutable(table.get(tag), manifest.digest, tag)
            if condition is not None and tags:
                condition.check(table.get(tags[0]))
            self._tags.manifests.setdefault(repository, {})[manifest.digest] = manifest
            table.update(dict.fromkeys(tags, manifest.digest))

    def delete(
        self, repository: str, digest: Digest, *, is_immutable: Callable[[str], bool] | None = None
    ) -> bool:
        with self._lock:
            table = self._tags.table.get(repository, {})
            tags = [tag for tag, held in table.items() if held == digest]
            for tag in filter(is_immutable or _never, tags):
                check_immutable(digest, None, tag)
            if self._tags.manifests.get(repository, {}).pop(digest, None) is None:
                return False
            for tag in tags:
                del table[tag]
            return True

    def remove_all(self, repository: str) -> bool:
        with self._lock:
            held = self._tags.manifests.pop(repository, {})
            tags = self._tags.table.pop(repository, {})
            return self._tags.remove_blobs(repository) or bool(held or tags)

    def totals(self, repository: str) -> Totals:
        with self._lock:
            held = self._tags.manifests.get(repository, {})
            blobs = self._tags.blob_sizes(repository)
            return Totals(
                size=sum(blobs) + sum(len(manifest.raw) for manifest in held.values()),
                blobs=len(blobs),
                manifests=len(held),
                tags=len(self._tags.table.get(repository, ())),
            )

    def usage(self) -> Totals:
        with self._lock:
            sizes = self._tags.all_sizes()
            held = {
                digest: len(manifest.raw)
                for manifests in self._tags.manifests.values()
                for digest, manifest in manifests.items()
            }
            return Totals(
                size=sum(sizes) + sum(held.values()),
                blobs=len(sizes),
                manifests=len(held),
                tags=sum(map(len, self._tags.table.values())),
            )

    def referrers(self, repository: str, subject: Digest) -> Sequence[StoredManifest]:
        with self._lock:
            held = self._tags.manifests.get(repository, {}).values()
            return sorted((m for m in held if m.subject == subject), key=lambda m: m.digest)


class _MemoryUpload:
    def __init__(self, owner: _Uploads, repository: str) -> None:
        self._owner = owner
        self._content = bytearray()
        self.repository = repository
        self.identifier = str(uuid.uuid4())
        self.used = owner.clock()
        self.is_paused = True

    @property
    def size(self) -> int:
        return len(self._content)

    def write(self, parts: Sequence[bytes | memoryview]) -> None:
        self.is_paused = False
        for part in parts:
            self._content += part
        self.used = self._owner.clock()

    def truncate(self, size: int) -> None:
        del self._content[size:]

    def pause(self) -> None:
        self.is_paused = True
        self.used = self._owner.clock()

    def prepare(self, digest: Digest) -> None:
        """Nothing takes long."""

    def commit(self, digest: Digest) -> None:
        content = bytes(self._content)
        self.discard()
        if Digest.of(content, digest.algorithm) != digest:
            raise VerificationFailed(f"the upload does not have the digest {digest}")
        self._owner.blobs.publish(self.repository, digest, content)

    def discard(self) -> None:
        self._owner.forget(self.identifier)
        self._content = bytearray()


class _Uploads(Sessions[_MemoryUpload]):
    def __init__(self, blobs: _Blobs, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.blobs = blobs

    def create(self, repository: str, algorithm: str = "sha256") -> _MemoryUpload:
        del algorithm  # the digest is computed at the end, whatever the algorithm
        return self.add(_MemoryUpload(self, repository))
