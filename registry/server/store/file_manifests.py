"""
Manifests, tags and the list of repositories as files.

Invariants: changes to one repository happen one after the other; a manifest is written before a tag leads to
it and removed after every such tag; lists come from the index, which follows the files.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from oci_image.digest import Digest
from oci_image.store.lock import sync_directory

from ..leases import Leases
from .base import StoredManifest, TagCondition, check_immutable
from .durable import (
    create_marker,
    make_directories,
    read_file,
    remove_file,
    replace_file,
    storage_errors,
)
from .index import Index
from .indexed_manifests import IndexedManifests
from .indexed_tags import IndexedTags
from .layout import Layout
from .records import decode_record, decode_tag, encode_record, encode_tag


class FileTags(IndexedTags):
    """Implements `TagAccess`."""

    def __init__(self, layout: Layout, index: Index) -> None:
        super().__init__(index)
        self._layout = layout

    def _directory(self, repository: str) -> str:
        return f"{self._layout.root}/{self._layout.tag_directory(repository)}"

    def get(self, repository: str, tag: str) -> Digest | None:
        """What the tag stands for."""
        with storage_errors():
            data = read_file(f"{self._directory(repository)}/{tag}")
        digest = decode_tag(data)
        if digest is None:
            return None
        return digest if os.path.lexists(self._layout.member(repository, "manifests", digest)) else None

    def set(self, repository: str, tag: str, digest: Digest) -> None:
        """Let the tag stand for a manifest that is there; the caller holds the lock."""
        directory = make_directories(self._layout.root, self._layout.tag_directory(repository))
        replace_file(self._layout.temporary, directory, tag, encode_tag(digest))

    def remove(self, repository: str, tag: str) -> None:
        """Remove the tag, whatever it stands for."""
        with self.lock(repository), storage_errors(), self._index.altering(repository):
            remove_file(self._directory(repository), tag)
            self._index.delete_tag(repository, tag)

    def remove_all(self, repository: str, digest: Digest) -> None:
        """Remove every tag that stands for the manifest; the caller holds the lock."""
        directory = self._directory(repository)
        wanted = encode_tag(digest)
        found = [
            tag
            for tag in self._index.tags_of(repository, digest)
            if read_file(f"{directory}/{tag}") == wanted
        ]
        for tag in found:
            os.unlink(f"{directory}/{tag}")
        if found:
            sync_directory(directory)


class FileManifests(IndexedManifests):
    """Implements `ManifestAccess`."""

    def __init__(self, layout: Layout, tags: FileTags, index: Index, leases: Leases) -> None:
        super().__init__(index, leases)
        self._layout = layout
        self._tags = tags

    def read(self, repository: str, digest: Digest) -> StoredManifest | None:
        """The manifest, without counting that as a use; a damaged one is put aside."""
        path = self._layout.member(repository, "manifests", digest)
        with storage_errors():
            data = read_file(path)
            if data is None:
                return None
            manifest = decode_record(data, digest)
            if manifest is None:
                with suppress(FileNotFoundError):
                    os.rename(path, f"{self._layout.root}/quarantine/manifest-{uuid.uuid4().hex}")
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
        """Keep the manifest, then its tags."""
        digest = manifest.digest
        with self._tags.lock(repository), storage_errors():
            if condition is not None and tags:
                condition.check(self._tags.get(repository, tags[0]))
            for tag in immutable:
                check_immutable(self._tags.get(repository, tag), digest, tag)
            with self._index.altering(repository):
                self._keep(repository, manifest, tags)
            self._leases.release([(repository, digest)])

    def _keep(self, repository: str, manifest: StoredManifest, tags: Sequence[str]) -> None:
        digest = manifest.digest
        if manifest.subject is not None:
            self._add_referrer(repository, manifest.subject, digest)
        relative = self._layout.member_directory(repository, "manifests", digest.algorithm)
        directory = make_directories(self._layout.root, relative)
        record = encode_record(manifest)
        if read_file(f"{directory}/{digest.hex}") != record:
            replace_file(self._layout.temporary, directory, digest.hex, record)
        else:
            os.utime(f"{directory}/{digest.hex}")
        for tag in tags:
            self._tags.set(repository, tag, digest)
        self._index.put_manifest(repository, manifest, tags)

    def _add_referrer(self, repository: str, subject: Digest, digest: Digest) -> None:
        relative = self._layout.referrer_directory(repository, subject)
        create_marker(make_directories(self._layout.root, relative), f"{digest.algorithm}-{digest.hex}")

    def delete(
        self,
        repository: str,
        digest: Digest,
        *,
        is_immutable: Callable[[str], bool] | None = None,
        keep: str = "",
    ) -> bool:
        """Remove the tags, then the manifest, whose file goes to `keep`."""
        with self._tags.lock(repository), storage_errors():
            manifest = self.read(repository, digest)
            if manifest is None:
                return False
            if is_immutable is not None:
                for tag in filter(is_immutable, self._index.tags_of(repository, digest)):
                    check_immutable(digest, None, tag)
            with self._index.altering(repository):
                self._remove(repository, manifest, keep)
            return True

    def _remove(self, repository: str, manifest: StoredManifest, keep: str) -> None:
        digest = manifest.digest
        self._tags.remove_all(repository, digest)
        # First, because without its record nobody could tell it from a blob.
        if not os.path.lexists(self._layout.blob(digest)):  # else the repository may have it as a blob
            exposed = self._layout.member_directory(repository, "blobs", digest.algorithm)
            remove_file(f"{self._layout.root}/{exposed}", digest.hex)
        relative = self._layout.member_directory(repository, "manifests", digest.algorithm)
        remove_file(f"{self._layout.root}/{relative}", digest.hex, keep=keep)
        if manifest.subject is not None:
            referrers = self._layout.referrer_directory(repository, manifest.subject)
            remove_file(f"{self._layout.root}/{referrers}", f"{digest.algorithm}-{digest.hex}")
        self._index.delete_manifest(repository, digest)
