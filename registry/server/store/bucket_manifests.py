"""
Manifests, tags and the list of repositories in a bucket.

Invariants: changes by one registry to one repository happen one after the other, and a tag changes only from
what it was seen to stand for, whoever else writes; a manifest is written before a tag leads to it and removed
after every such tag; what a failure left half done is read again from the bucket.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence

from oci_image.digest import Digest

from ..leases import Leases
from . import bucket_layout as keys
from .base import ConditionFailed, StoredManifest, TagCondition, check_immutable
from .bucket import Bucket, Entry
from .index import Index
from .indexed_manifests import IndexedManifests
from .indexed_tags import IndexedTags
from .records import decode_record, decode_tag, encode_record, encode_tag


class BucketTags(IndexedTags):
    """Implements `LockedTags`."""

    def __init__(self, bucket: Bucket, index: Index) -> None:
        super().__init__(index)
        self._bucket = bucket

    def look(self, repository: str, tag: str) -> tuple[Digest | None, Entry | None]:
        """What the tag says, and the object that says it."""
        found = self._bucket.read(keys.tag(repository, tag))
        if found is None:
            return None, None
        digest = decode_tag(found[0])
        if digest is None:
            return None, found[1]
        here = self._index.has_manifest(repository, digest)
        if not here and self._bucket.head(keys.manifest(repository, digest)) is None:
            return None, found[1]
        return digest, found[1]

    def get(self, repository: str, tag: str) -> Digest | None:
        """What the tag stands for."""
        return self.look(repository, tag)[0]

    def set(self, repository: str, tag: str, digest: Digest, seen: Entry | None) -> None:
        """
        Let the tag stand for a manifest that is there; the caller holds the lock.

        Raises:
            ConditionFailed: another registry changed it since it was seen.
        """
        if not self._bucket.exchange(keys.tag(repository, tag), encode_tag(digest), seen):
            raise ConditionFailed(f"the tag {tag} was changed at the same time")

    def move(self, repository: str, tag: str, digest: Digest) -> None:
        """Let the tag stand for a manifest that is there, whatever it stood for."""
        self._bucket.write(keys.tag(repository, tag), encode_tag(digest))

    def remove(self, repository: str, tag: str) -> None:
        """Remove the tag, whatever it stands for."""
        with self.lock(repository), self._index.altering(repository):
            self._bucket.remove(keys.tag(repository, tag))
            self._index.delete_tag(repository, tag)


class BucketManifests(IndexedManifests):
    """Implements `CollectedManifests`."""

    def __init__(self, bucket: Bucket, tags: BucketTags, index: Index, leases: Leases) -> None:
        super().__init__(index, leases)
        self._bucket = bucket
        self._tags = tags

    def read(self, repository: str, digest: Digest) -> StoredManifest | None:
        """The manifest, without counting that as a use; a damaged one is put aside."""
        key = keys.manifest(repository, digest)
        found = self._bucket.read(key)
        if found is None:
            return None
        manifest = decode_record(found[0], digest)
        if manifest is None:
            self._bucket.move(key, f"quarantine/manifest-{uuid.uuid4().hex}")
            self._index.mark(repository)
            self._index.delete_manifest(repository, digest, tags=False)
        return manifest

    def put(
        self,
        repository: str,
        manifest: StoredManifest,
        tags: Sequence[str] = (),
        condition: TagCondition | None = None,
        immutable: Collection[str] = (),
    ) -> None:
        """Keep the manifest, then its tags; those that must be what they were are written first."""
        digest = manifest.digest
        with self._tags.lock(repository), self._index.altering(repository):
            seen: dict[str, Entry | None] = {}
            for tag in {*immutable, *tags[: condition is not None]}:
                current, seen[tag] = self._tags.look(repository, tag)
                if tag in immutable:
                    check_immutable(current, digest, tag)
                if condition is not None and tag == tags[0]:
                    condition.check(current)
            self._bucket.write(keys.manifest(repository, digest), encode_record(manifest))
            done: list[str] = []
            try:
                for tag in sorted(tags, key=lambda name: name not in seen):
                    if tag in seen:
                        self._tags.set(repository, tag, digest, seen[tag])
                    else:
                        self._tags.move(repository, tag, digest)
                    done.append(tag)
            finally:
                self._index.put_manifest(repository, manifest, done)
                self._leases.release([(repository, digest)])

    def delete(
        self,
        repository: str,
        digest: Digest,
        *,
        is_immutable: Callable[[str], bool] | None = None,
        keep: str = "",
    ) -> bool:
        """Remove the tags, then the manifest, whose bytes go to `keep`."""
        with self._tags.lock(repository):
            manifest = self.read(repository, digest)
            if manifest is None:
                return False
            tags = [
                tag
                for tag in self._index.tags_of(repository, digest)
                if self._tags.get(repository, tag) == digest
            ]
            for tag in filter(is_immutable, tags) if is_immutable is not None else ():
                check_immutable(digest, None, tag)
            with self._index.altering(repository):
                if keep:
                    self._bucket.write(keep, encode_record(manifest))
                for tag in tags:
                    self._bucket.remove(keys.tag(repository, tag))
                self._bucket.remove(keys.manifest(repository, digest))
                self._index.delete_manifest(repository, digest)
            return True
