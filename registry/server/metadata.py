"""
Sizes of blobs, small blobs, manifests and lists of tags in memory: hot requests need neither thread nor disk.

Invariants: only the event loop touches the cache; a value that was loaded while the repository changed is
not kept, so a cached value is never older than the last answered change. At most 100,000 sizes of blobs
(half a KiB each with their names, 45 MiB), 64 MiB of manifests and 32 MiB of small blobs are kept, those that
were asked for last.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Generic, TypeVar

from oci_image.digest import Digest

from .store.base import StoredManifest

V = TypeVar("V")

BLOBS_LIMIT = 100_000
MANIFEST_BYTES_LIMIT = 64 * 1024 * 1024
PAGE_BYTES_LIMIT = 16 * 1024 * 1024
CONTENT_BYTES_LIMIT = 32 * 1024 * 1024
LARGEST_CONTENT = 64 * 1024
"""What the configurations of images hardly ever exceed."""

_MANIFEST_OVERHEAD = 1024


class _Bounded(Generic[V]):
    """A least-recently-used mapping, bounded by the sum of weights; grouped by repository."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[tuple[str, str], tuple[V, int]] = OrderedDict()
        self._by_repository: dict[str, set[str]] = {}
        self._weight = 0

    def get(self, repository: str, key: str) -> V | None:
        found = self._entries.get((repository, key))
        if found is None:
            return None
        self._entries.move_to_end((repository, key))
        return found[0]

    def put(self, repository: str, key: str, value: V, weight: int) -> None:
        self._remove(repository, key)
        self._entries[repository, key] = (value, weight)
        self._by_repository.setdefault(repository, set()).add(key)
        self._weight += weight
        while self._weight > self._limit:
            self._remove(*next(iter(self._entries)))

    def _remove(self, repository: str, key: str) -> None:
        found = self._entries.pop((repository, key), None)
        if found is not None:
            self._weight -= found[1]
            keys = self._by_repository[repository]
            keys.discard(key)
            if not keys:
                del self._by_repository[repository]

    def drop(self, repository: str) -> None:
        for key in list(self._by_repository.get(repository, ())):
            self._remove(repository, key)

    def clear(self) -> None:
        self._entries.clear()
        self._by_repository.clear()
        self._weight = 0


@dataclass(frozen=True, slots=True)
class Page:
    """
    A part of a list, ready to be sent.

    Attributes:
        body: the JSON.
        following: the address of the next part; empty at the end.
    """

    body: bytes
    following: str


class MetadataCache:
    """
    What was read of repositories since they last changed.

    Args:
        is_shared: whether others change the storage as well; then only what a digest names is kept.
    """

    def __init__(self, *, is_shared: bool = False) -> None:
        self._is_shared = is_shared
        self._blobs: _Bounded[int] = _Bounded(BLOBS_LIMIT)
        self._contents: _Bounded[bytes] = _Bounded(CONTENT_BYTES_LIMIT)
        self._manifests: _Bounded[StoredManifest] = _Bounded(MANIFEST_BYTES_LIMIT)
        self._pages: _Bounded[Page] = _Bounded(PAGE_BYTES_LIMIT)
        self._changing: dict[str, int] = {}
        self._changes = 0

    def known_blob(self, repository: str, digest: Digest) -> int | None:
        """The size of a blob, if it is at hand."""
        return self._blobs.get(repository, str(digest))

    def known_manifest(self, repository: str, reference: str) -> StoredManifest | None:
        """A manifest by digest or tag, if it is at hand."""
        return self._manifests.get(repository, reference)

    async def blob(
        self, repository: str, digest: Digest, load: Callable[[], Awaitable[int | None]]
    ) -> int | None:
        """The size of a blob, from memory or by `load`."""
        found = self._blobs.get(repository, str(digest))
        if found is not None:
            return found
        before = self._changes
        loaded = await load()
        if loaded is not None and not self._is_shared and self._is_current(repository, before):
            self._blobs.put(repository, str(digest), loaded, 1)
        return loaded

    def known_content(self, repository: str, digest: Digest) -> bytes | None:
        """The bytes of a small blob, if they are at hand."""
        return self._contents.get(repository, str(digest))

    async def opened(
        self, repository: str, digest: Digest, load: Callable[[], Awaitable[tuple[BinaryIO, int] | None]]
    ) -> tuple[BinaryIO, int] | None:
        """What `load` opens; the bytes of a small blob, which were read and verified, are kept."""
        before = self._changes
        found = await load()
        if found is None or found[1] > LARGEST_CONTENT or not isinstance(found[0], io.BytesIO):
            return found
        if not self._is_shared and self._is_current(repository, before):
            content = found[0].getvalue()
            self._contents.put(repository, str(digest), content, len(content) + _MANIFEST_OVERHEAD)
        return found

    async def manifest(
        self, repository: str, reference: str, load: Callable[[], Awaitable[StoredManifest | None]]
    ) -> StoredManifest | None:
        """A manifest by digest or tag, from memory or by `load`."""
        found = self._manifests.get(repository, reference)
        if found is not None:
            return found
        before = self._changes
        loaded = await load()
        may_move = self._is_shared and ":" not in reference
        if loaded is not None and not may_move and self._is_current(repository, before):
            self._manifests.put(repository, reference, loaded, len(loaded.raw) + _MANIFEST_OVERHEAD)
        return loaded

    def known_page(self, repository: str, key: str) -> Page | None:
        """A part of the list of tags, if it is at hand."""
        return self._pages.get(repository, key)

    async def page(
        self, repository: str, key: str, load: Callable[[], Awaitable[Page | None]]
    ) -> Page | None:
        """A part of the list of tags, from memory or by `load`."""
        found = self._pages.get(repository, key)
        if found is not None:
            return found
        before = self._changes
        loaded = await load()
        if loaded is not None and not self._is_shared and self._is_current(repository, before):
            self._pages.put(repository, key, loaded, len(loaded.body) + _MANIFEST_OVERHEAD)
        return loaded

    def _is_current(self, repository: str, before: int) -> bool:
        return before == self._changes and repository not in self._changing

    @contextmanager
    def change(self, repository: str, *, manifests: bool = True, blobs: bool = False) -> Iterator[None]:
        """Surround a change of a repository: nothing old is served after it, nothing is kept during it."""
        self._changing[repository] = self._changing.get(repository, 0) + 1
        try:
            yield
        finally:
            self._changes += 1
            if self._changing[repository] == 1:
                del self._changing[repository]
            else:
                self._changing[repository] -= 1
            self._pages.drop(repository)
            if manifests:
                self._manifests.drop(repository)
            if blobs:
                self._drop_blobs(repository)

    def forget(self, repository: str) -> None:
        """Forget what is known of a repository."""
        self._changes += 1
        self._pages.drop(repository)
        self._manifests.drop(repository)
        self._drop_blobs(repository)

    def _drop_blobs(self, repository: str) -> None:
        self._blobs.drop(repository)
        self._contents.drop(repository)

    def clear(self) -> None:
        """Forget everything."""
        self._changes += 1
        self._pages.clear()
        self._blobs.clear()
        self._contents.clear()
        self._manifests.clear()
