"""
Manifests, tags and the list of repositories as files.

Invariants: changes to one repository happen one after the other; a manifest is written before a tag leads to
it and removed after every such tag; the list of repositories is read once and then kept current, because
this process is the directory's only writer.
"""

from __future__ import annotations

import bisect
import json
import os
import threading
import uuid
import zlib
from collections.abc import Sequence
from contextlib import suppress

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import ImageError

from .base import StoredManifest, TagCondition
from .durable import (
    create_marker,
    list_names,
    make_directories,
    read_file,
    remove_file,
    replace_file,
    storage_errors,
    sync_directory,
)
from .layout import Layout, flatten, unflatten

_STRIPES = 64


class FileTags:
    """Implements `TagAccess`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._locks = [threading.RLock() for _ in range(_STRIPES)]
        self._catalog_lock = threading.Lock()
        self._catalog: list[str] | None = None

    def lock(self, repository: str) -> threading.RLock:
        """The lock for changes to the repository."""
        return self._locks[zlib.crc32(repository.encode()) % _STRIPES]

    def _directory(self, repository: str) -> str:
        return f"{self._layout.root}/{self._layout.tag_directory(repository)}"

    def get(self, repository: str, tag: str) -> Digest | None:
        """What the tag stands for."""
        with storage_errors():
            data = read_file(f"{self._directory(repository)}/{tag}")
        if data is None:
            return None
        try:
            digest = Digest.parse(data.decode("ascii").strip())
        except (ImageError, UnicodeDecodeError):
            return None
        return digest if os.path.lexists(self._layout.member(repository, "manifests", digest)) else None

    def set(self, repository: str, tag: str, digest: Digest) -> None:
        """Let the tag stand for a manifest that is there; the caller holds the lock."""
        directory = make_directories(self._layout.root, self._layout.tag_directory(repository))
        replace_file(self._layout.temporary, directory, tag, f"{digest}\n".encode())

    def names(self, repository: str) -> Sequence[str] | None:
        """All tags, sorted."""
        with storage_errors():
            names = sorted(list_names(self._directory(repository)))
            name = flatten(repository)
            return names if names or self._holds(name, "manifests") or self._holds(name, "blobs") else None

    def delete(self, repository: str, tag: str, condition: TagCondition | None = None) -> bool:
        """Remove the tag."""
        with self.lock(repository), storage_errors():
            current = self.get(repository, tag)
            if current is None:
                return False
            if condition is not None:
                condition.check(current)
            return remove_file(self._directory(repository), tag)

    def remove_all(self, repository: str, digest: Digest) -> None:
        """Remove every tag that stands for the manifest; the caller holds the lock."""
        directory = self._directory(repository)
        wanted = f"{digest}\n".encode()
        found = [tag for tag in list_names(directory) if read_file(f"{directory}/{tag}") == wanted]
        for tag in found:
            os.unlink(f"{directory}/{tag}")
        if found:
            sync_directory(directory)

    def repositories(self) -> Sequence[str]:
        """The repositories that hold a manifest, sorted."""
        with self._catalog_lock, storage_errors():
            if self._catalog is None:
                names = list_names(self._layout.repositories)
                self._catalog = sorted(unflatten(name) for name in names if self._holds(name, "manifests"))
            return tuple(self._catalog)

    def _holds(self, name: str, kind: str) -> bool:
        parent = f"{self._layout.repositories}/{name}/{kind}"
        return any(list_names(f"{parent}/{algorithm}") for algorithm in list_names(parent))

    def note_change(self, repository: str) -> None:
        """Keep the list of repositories current after a manifest came or went; the caller holds the lock."""
        with self._catalog_lock:
            if self._catalog is None:
                return
            position = bisect.bisect_left(self._catalog, repository)
            listed = self._catalog[position : position + 1] == [repository]
            holds = self._holds(flatten(repository), "manifests")
            if holds and not listed:
                self._catalog.insert(position, repository)
            elif listed and not holds:
                del self._catalog[position]


class FileManifests:
    """Implements `ManifestAccess`."""

    def __init__(self, layout: Layout, tags: FileTags) -> None:
        self._layout = layout
        self._tags = tags

    def get(self, repository: str, digest: Digest) -> StoredManifest | None:
        """The manifest; a damaged one is put aside."""
        path = self._layout.member(repository, "manifests", digest)
        with storage_errors():
            data = read_file(path)
            if data is None:
                return None
            manifest = _decode(data, digest)
            if manifest is None:
                with suppress(FileNotFoundError):
                    os.rename(path, f"{self._layout.root}/quarantine/manifest-{uuid.uuid4().hex}")
            return manifest

    def put(
        self,
        repository: str,
        manifest: StoredManifest,
        tags: Sequence[str] = (),
        condition: TagCondition | None = None,
    ) -> None:
        """Keep the manifest, then its tags."""
        digest = manifest.digest
        with self._tags.lock(repository), storage_errors():
            if condition is not None and tags:
                condition.check(self._tags.get(repository, tags[0]))
            if manifest.subject is not None:
                self._add_referrer(repository, manifest.subject, digest)
            relative = self._layout.member_directory(repository, "manifests", digest.algorithm)
            directory = make_directories(self._layout.root, relative)
            if read_file(f"{directory}/{digest.hex}") != _encode(manifest):
                replace_file(self._layout.temporary, directory, digest.hex, _encode(manifest))
                self._tags.note_change(repository)
            for tag in tags:
                self._tags.set(repository, tag, digest)

    def _add_referrer(self, repository: str, subject: Digest, digest: Digest) -> None:
        relative = self._layout.referrer_directory(repository, subject)
        create_marker(make_directories(self._layout.root, relative), f"{digest.algorithm}-{digest.hex}")

    def delete(self, repository: str, digest: Digest) -> bool:
        """Remove the tags, then the manifest."""
        with self._tags.lock(repository), storage_errors():
            manifest = self.get(repository, digest)
            if manifest is None:
                return False
            self._tags.remove_all(repository, digest)
            relative = self._layout.member_directory(repository, "manifests", digest.algorithm)
            remove_file(f"{self._layout.root}/{relative}", digest.hex)
            if manifest.subject is not None:
                referrers = self._layout.referrer_directory(repository, manifest.subject)
                remove_file(f"{self._layout.root}/{referrers}", f"{digest.algorithm}-{digest.hex}")
            self._tags.note_change(repository)
            return True

    def referrers(self, repository: str, subject: Digest) -> Sequence[StoredManifest]:
        """The manifests with the subject; markers that a crash left behind are skipped."""
        directory = f"{self._layout.root}/{self._layout.referrer_directory(repository, subject)}"
        found: list[StoredManifest] = []
        with storage_errors():
            names = sorted(list_names(directory))
        for name in names:
            with suppress(ImageError):
                manifest = self.get(repository, Digest.parse(name.replace("-", ":", 1)))
                if manifest is not None and manifest.subject == subject:
                    found.append(manifest)
        return found


def _encode(manifest: StoredManifest) -> bytes:
    header: dict[str, object] = {"descriptor": manifest.descriptor.to_json()}
    if manifest.subject is not None:
        header["subject"] = str(manifest.subject)
    return json.dumps(header).encode() + b"\n" + manifest.raw


def _decode(data: bytes, digest: Digest) -> StoredManifest | None:
    line, newline, raw = data.partition(b"\n")
    if not newline or Digest.of(raw, digest.algorithm) != digest:
        return None
    try:
        header = json.loads(line)
        descriptor = Descriptor.from_json(header["descriptor"], "stored manifest")
        subject = Digest.parse(header["subject"]) if "subject" in header else None
    except (ValueError, KeyError, TypeError, ImageError):
        return None
    return StoredManifest(descriptor=descriptor, raw=raw, subject=subject)
