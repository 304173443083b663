"""
The layers of imported caches: fetched when their bytes are needed, and looked into before anybody uses them.

The blob is verified by its digest where it comes in, its content here by the diff_id under which it is used.
A layer that does not pass, or cannot be had, is lost: every result that needs it is a miss from then on, and
`CacheLost` tells whoever was using it to start again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from oci_image.digest import Digest, Hasher
from oci_image.errors import ImageError, VerificationFailed
from oci_image.image import Layer
from oci_image.store.base import BlobStore
from registry.errors import RegistryError

from ..errors import CacheLost
from ..events import EventSink
from ..host import LayerSource, TarReader
from .imported import ImportedCaches
from .places import CacheSource

if TYPE_CHECKING:
    from oci_image.layer.index import LayerIndex
    from oci_image.spool import Spool

    from ..earlier import Earlier

_PIECE = 1 << 20


class ImportedLayers:
    """A source of layers that fetches those of imported caches when their bytes are needed."""

    def __init__(self, inner: LayerSource, caches: ImportedCaches, blobs: BlobStore, sink: EventSink) -> None:
        self._inner = inner
        self._caches = caches
        self._blobs = blobs
        self._sink = sink
        self._locks: dict[Digest, asyncio.Lock] = {}
        self.lost: CacheLost | None = None

    async def ensure(self, layers: tuple[Layer, ...]) -> None:
        """
        Let the layers be in the local store.

        Raises:
            CacheLost: an imported one cannot be had.
            CannotResolve: another one cannot be had.
        """
        unproven = [layer for layer in layers if self._is_unproven(layer)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._fetch(layer)) for layer in unproven]
        problems = [problem for task in tasks for problem in [task.result()] if problem is not None]
        if problems:
            self.lost = problems[0]
            raise problems[0]
        await self._inner.ensure(layers)

    def index(self, layer: Layer) -> LayerIndex:
        """The list of a layer's entries."""
        return self._inner.index(layer)

    def remember(self, diff_id: Digest, index: Iterable[bytes]) -> None:
        """Keep the saved index of a layer that was just written."""
        self._inner.remember(diff_id, index)

    def earlier(self, kind: str) -> Earlier:
        """What an earlier layer of the same kind has."""
        return self._inner.earlier(kind)

    def keep_runs(self, diff_id: Digest, noted: Earlier) -> None:
        """Let later layers know what was noted."""
        self._inner.keep_runs(diff_id, noted)

    def spool(self) -> Spool:
        """A place for what is put aside."""
        return self._inner.spool()

    def open_tar(self, layer: Layer) -> TarReader:
        """The layer's uncompressed archive."""
        return self._inner.open_tar(layer)

    def read(self, layer: Layer, offset: int, size: int) -> bytes:
        """Bytes of the uncompressed archive."""
        return self._inner.read(layer, offset, size)

    def _is_unproven(self, layer: Layer) -> bool:
        """Whether an imported cache says what a blob holds, and nobody has looked; it may well be here."""
        blob = layer.descriptor.digest
        if blob in self._caches.proven or not self._caches.is_reachable(blob):
            return False
        return self._blobs.stat(layer.diff_id) is None

    async def _fetch(self, layer: Layer) -> CacheLost | None:
        """Fetch a layer from the first source that has it; gives the problem of the last one that failed."""
        blob = layer.descriptor
        async with self._locks.setdefault(blob.digest, asyncio.Lock()):
            if not self._is_unproven(layer):
                return None
            problem: Exception | None = None
            shown = ""
            for source in self._caches.sources(blob.digest):
                shown = source.shown
                try:
                    await self._prove(layer, source)
                except (RegistryError, ImageError, OSError) as failure:
                    problem = failure
                else:
                    self._caches.proven.add(blob.digest)
                    return None
            self._caches.lose(blob.digest)
            lost = CacheLost(f"layer {blob.digest.short} of the cache {shown} cannot be used: {problem}")
            lost.__cause__ = problem
            return lost

    async def _prove(self, layer: Layer, source: CacheSource) -> None:
        was_here = self._blobs.stat(layer.descriptor.digest) is not None
        if not was_here:
            await source.fetch((layer.descriptor,), self._blobs, self._sink)
        try:
            await asyncio.to_thread(check_content, layer, self._blobs)
        except ImageError:
            if not was_here:  # what was here before belongs to something else, as what it is
                self._blobs.delete(layer.descriptor.digest)
            raise


def check_content(layer: Layer, blobs: BlobStore) -> None:
    """
    See whether a compressed layer holds what its diff_id promises (blocking).

    Raises:
        VerificationFailed: it does not.
        UnsafeLayer: it cannot be decompressed.
    """
    from oci_image.layer.compression import open_decompressed

    hasher = Hasher(layer.diff_id.algorithm)
    with open_decompressed(blobs.open(layer.descriptor.digest)) as stream:
        while piece := stream.read(_PIECE):
            hasher.update(piece)
    if hasher.digest() != layer.diff_id:
        raise VerificationFailed(f"its content is {hasher.digest()}, not {layer.diff_id}")
