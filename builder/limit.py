"""
A hard limit for the build cache: space is asked for before a layer is written.

What counts is what `pybuild du` calls the cache: layers of cached steps that no image needs, and all that was
made beside them. Where a layer does not fit, the cached steps that were unused for longest are forgotten
first, with what nobody else needs of them; if that is not enough, writing fails and nothing of the layer
stays. What running builds need is never evicted, so it is they who cannot take more than the limit.
"""

from __future__ import annotations

import os
import threading
import time

from oci_image.digest import Digest
from oci_image.errors import StoreProblem
from oci_image.store.layout import LayoutBlobStore
from oci_image.store.writer import LayoutBlobWriter

from .accounting import account
from .cleanup import GRACE, prune
from .local import LocalStore

_FREE = 64 << 10
"""Bytes of a blob that are not asked for: documents are as small."""

_PIECE = 1 << 20
"""Bytes that are asked for at once."""

_FRESH = 5.0
"""Seconds for which the size of the cache is taken as it was last seen, with what was written since."""


class CacheLimit:
    """
    The limit of one store; used by several threads at once.

    Args:
        store: whose cache it is.
        limit: in bytes.
    """

    def __init__(self, store: LocalStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._used = 0
        self._pending = 0
        self._seen = float("-inf")
        self._lock = threading.Lock()

    def take(self, size: int, whole: int) -> None:
        """
        Let so many bytes be written (blocking).

        Args:
            size: how many.
            whole: how many the blob has with them.

        Raises:
            StoreProblem: there is no room for them, and none can be made.
        """
        with self._lock:
            if time.monotonic() - self._seen > _FRESH:
                self._look()
            wanted = self._pending + size
            if self._used + wanted > self._limit:
                if wanted < self._limit:
                    prune(self._store, keep=self._limit - wanted, cutoff=time.time() - GRACE)
                self._look()
            if self._used + wanted > self._limit:
                raise self._full(whole)
            self._pending = wanted

    def settle(self, taken: int, written: int) -> None:
        """Note how many of the bytes that were taken are in the store now."""
        with self._lock:
            self._pending -= taken
            self._used += written

    def _look(self) -> None:
        self._used = account(self._store).cache_size
        self._seen = time.monotonic()

    def _full(self, whole: int) -> StoreProblem:
        alone = whole > self._limit
        what = "this step alone writes more" if alone else "running builds need all of it, and this step more"
        return StoreProblem(
            f"the build cache may take {self._limit} bytes (--cache-limit): {what}",
            hint="raise the limit (--cache-limit or PYBUILD_CACHE_LIMIT)",
        )


class LimitedBlobStore(LayoutBlobStore):
    """The blobs of a local store, within the limit of its cache."""

    def __init__(self, root: str | os.PathLike[str], limit: CacheLimit, *, durable: bool) -> None:
        super().__init__(root, durable=durable)
        self._limit = limit

    def writer(self, algorithm: str = "sha256") -> LayoutBlobWriter:
        """A new writer, which asks for space before it takes it."""
        super().writer(algorithm).discard()  # for what has to be there
        return _LimitedWriter(self.root, algorithm, self._limit, durable=self.durable)


class _LimitedWriter(LayoutBlobWriter):
    def __init__(self, root: str, algorithm: str, limit: CacheLimit, *, durable: bool) -> None:
        self._limit = limit
        self._granted = 0
        super().__init__(root, algorithm, durable=durable)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes for which there is room."""
        whole = self.size + len(data)
        if whole > max(_FREE, self._granted):
            more = max(whole - self._granted, _PIECE) if whole > _PIECE else whole - self._granted
            self._ask(more, whole)
        super().write(data)

    def _ask(self, more: int, whole: int) -> None:
        try:
            self._limit.take(more, whole)
        except StoreProblem:
            if more == whole - self._granted:
                raise
            more = whole - self._granted  # not as much ahead
            self._limit.take(more, whole)
        self._granted += more

    def commit(self, expected: Digest | None = None) -> Digest:
        """Publish the blob, and give back what it did not need."""
        size = self.size
        digest = super().commit(expected)  # which discards
        self._limit.settle(0, size)
        return digest

    def discard(self) -> None:
        """Forget everything; its space is free again."""
        granted, self._granted = self._granted, 0
        super().discard()
        if granted:
            self._limit.settle(granted, 0)
