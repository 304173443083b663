"""
Reading a bucket into its index.

Invariants: objects are the truth, the index follows; what changes here meanwhile is neither lost nor made up;
only what the index does not know yet is read, the rest is only listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from oci_image.digest import Digest

from . import bucket_layout as keys
from .bucket import Bucket, Entry
from .bucket_blobs import BucketBlobs
from .bucket_manifests import BucketTags
from .index import Index
from .records import decode_record, decode_tag

_READERS = 8


class Sweep:
    """
    Lists a bucket and corrects the index.

    Args:
        bucket: of the registry.
        index: what is known of it.
        blobs: of the same bucket.
        tags: of the same bucket.
    """

    def __init__(self, bucket: Bucket, index: Index, blobs: BucketBlobs, tags: BucketTags) -> None:
        self._bucket = bucket
        self._index = index
        self._blobs = blobs
        self._tags = tags

    def everything(self) -> None:
        """Correct what the index says about all repositories."""
        self._all_blobs()
        present: set[str] = set()
        for name, entries in groupby(self._bucket.entries(keys.REPOSITORIES), _repository):
            if name:
                present.add(name)
                if self._differs(name, entries):
                    self.repository(name)
        for (name,) in self._index.rows("SELECT name FROM repositories"):
            if name not in present and self._index.exists(name):
                self.repository(name)
            if not self._index.exists(name):
                self._index.remove(name)

    def _all_blobs(self) -> None:
        began = self._index.clock()
        self._blobs.left = left = set[tuple[str, Digest]]()
        try:
            sizes: dict[Digest, int] = {}
            for entry in self._bucket.entries(keys.BLOBS):
                digest = keys.read_content_key(entry.key)
                if digest is not None:
                    sizes[digest] = entry.size
            held: dict[str, set[Digest]] = defaultdict(set)
            for entry in self._bucket.entries(keys.HOLDERS):
                found = keys.read_key(entry.key)
                if found is not None and found.digest is not None:
                    held[found.repository].add(found.digest)
            known = {row[0] for row in self._index.rows("SELECT DISTINCT repository FROM blobs")}
            for name in sorted(known | held.keys()):
                self._blobs_of(name, {one: sizes.get(one, 0) for one in held[name]}, left, began)
        finally:
            self._blobs.left = None

    def _blobs_of(
        self, name: str, held: dict[Digest, int], left: set[tuple[str, Digest]], began: float
    ) -> None:
        with self._index.changing():
            rows = self._index.rows("SELECT digest, seen FROM blobs WHERE repository = ?", name)
            known = {Digest.parse(text): seen for text, seen in rows}
            gone = [one for one, seen in known.items() if one not in held and seen < began]
            fresh = {one: size for one, size in held.items() if one not in known and (name, one) not in left}
            if gone or fresh:
                self._index.mark(name)
            for digest in gone:
                self._index.delete_blob(name, digest)
            self._index.put_blobs(name, fresh)

    def _differs(self, name: str, entries: Iterable[Entry]) -> bool:
        manifests, tags = _sort(entries)
        known, changed = self._known(name)
        return manifests.keys() != known or {tag: entry.modified for tag, entry in tags.items()} != changed

    def _known(self, name: str) -> tuple[set[Digest], dict[str, float]]:
        manifests = self._index.rows("SELECT digest FROM manifests WHERE repository = ?", name)
        tags = self._index.rows("SELECT name, changed FROM tags WHERE repository = ?", name)
        return {Digest.parse(row[0]) for row in manifests}, dict(tags)

    def repository(self, name: str) -> None:
        """Correct what the index says about the manifests and tags of one repository."""
        with self._tags.lock(name):
            manifests, tags = _sort(self._bucket.entries(keys.repository_prefix(name)))
            known, changed = self._known(name)
            self._index.mark(name)
            with ThreadPoolExecutor(_READERS, thread_name_prefix="bucket") as threads:
                fresh = {one: entry for one, entry in manifests.items() if one not in known}
                for (digest, entry), found in zip(
                    fresh.items(), threads.map(self._read, fresh.values()), strict=True
                ):
                    manifest = None if found is None else decode_record(found, digest)
                    if manifest is not None:
                        self._index.put_manifest(name, manifest, pushed=entry.modified)
                moved = {tag: entry for tag, entry in tags.items() if changed.get(tag) != entry.modified}
                for (tag, entry), found in zip(
                    moved.items(), threads.map(self._read, moved.values()), strict=True
                ):
                    standing_for = decode_tag(found)
                    if standing_for is not None:
                        self._index.set_tag(name, tag, standing_for, entry.modified)
            for digest in known - manifests.keys():
                self._index.delete_manifest(name, digest)
            for tag in changed.keys() - tags.keys():
                self._index.delete_tag(name, tag)

    def _read(self, entry: Entry) -> bytes | None:
        found = self._bucket.read(entry.key)
        return None if found is None else found[0]


def _repository(entry: Entry) -> str:
    held = keys.read_key(entry.key)
    return "" if held is None else held.repository


def _sort(entries: Iterable[Entry]) -> tuple[dict[Digest, Entry], dict[str, Entry]]:
    manifests: dict[Digest, Entry] = {}
    tags: dict[str, Entry] = {}
    for entry in entries:
        held = keys.read_key(entry.key)
        if held is not None and held.digest is not None:
            manifests[held.digest] = entry
        elif held is not None:
            tags[held.tag] = entry
    return manifests, tags
