"""
Imported caches in the place of local results: an index and a source of layers over what several caches hold.

Nothing is fetched for a hit; a layer comes when its bytes are needed, and is checked then: the blob by its
digest, its content by the diff_id under which it is used. A layer that does not pass, or cannot be had, is
lost: every result that needs it is a miss from then on, and `CacheLost` tells whoever was using it to start
again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest, Hasher
from oci_image.errors import ImageError, VerificationFailed
from oci_image.image import Layer
from oci_image.store.base import BlobStore
from registry.errors import RegistryError

from ..errors import CacheLost
from ..events import EventSink
from ..graph import BuildGraph, Step
from ..host import LayerSource, TarReader
from ..records import CacheIndex, CacheRecord, is_complete
from .document import CachedResult
from .gathering import base_of
from .places import CacheSource, ImportedCache

if TYPE_CHECKING:
    from oci_image.layer.index import LayerIndex

_PIECE = 1 << 20


class ImportedCaches:
    """What the sources of one build hold, and which of their layers turned out to be lost."""

    def __init__(self, caches: Sequence[tuple[CacheSource, ImportedCache]]) -> None:
        self.caches = tuple(caches)
        self._results: dict[Digest, list[CachedResult]] = {}
        self._forms: dict[Digest, list[Descriptor]] = {}
        self._sources: dict[Digest, list[CacheSource]] = {}
        for source, cache in self.caches:
            for result in cache.results:
                for key in dict.fromkeys((result.definition, result.content)):
                    self._results.setdefault(key, []).append(result)
            for diff_id, form in cache.layers.items():
                self._forms.setdefault(diff_id, []).append(form)
                self._sources.setdefault(form.digest, []).append(source)

    def results(self, key: Digest) -> Sequence[CachedResult]:
        """The results under a key, those of the first source first."""
        return self._results.get(key, ())

    def form(self, diff_id: Digest) -> Descriptor | None:
        """The form in which a layer can be had."""
        return next((form for form in self._forms.get(diff_id, ()) if form.digest in self._sources), None)

    def sources(self, blob: Digest) -> Sequence[CacheSource]:
        """Who has a blob."""
        return self._sources.get(blob, ())

    def is_reachable(self, blob: Digest) -> bool:
        """Whether somebody has a blob."""
        return blob in self._sources

    def registries(self, blob: Digest) -> set[str]:
        """The registries that have a blob, "" among them if it lies in a directory."""
        return {source.registry for source in self.sources(blob)}

    def lose(self, blob: Digest) -> None:
        """Take note that a blob cannot be had, or is not what it should be."""
        self._sources.pop(blob, None)

    def remember(self, layers: Sequence[Layer]) -> None:
        """Let every source note what it has of these layers."""
        for source, _ in self.caches:
            source.remember([one for one in layers if source in self.sources(one.descriptor.digest)])


class ImportingIndex:
    """
    A cache index that finds imported results where it has none of its own that are complete.

    An imported result is stored in the index below under the definition of its step; while its layers are
    elsewhere it is not complete there, so that it is of no use without the import.
    """

    def __init__(
        self, inner: CacheIndex, caches: ImportedCaches, graphs: Sequence[BuildGraph], blobs: BlobStore
    ) -> None:
        self._inner = inner
        self._caches = caches
        self._blobs = blobs
        self._steps: Mapping[Digest, Step] = {step.digest: step for graph in graphs for step in graph.steps()}

    def lookup(self, key: Digest) -> CacheRecord | None:
        """The record under a key: the local one if it is complete, else an imported one."""
        local = self._inner.lookup(key)
        for result in self._caches.results(key):
            if local is not None and is_complete(local, self._blobs, len(result.base)):
                return local
            record = self._record(result, key)
            if record is not None:
                return record
        return local

    def store(self, keys: Sequence[tuple[Digest, bytes]], record: CacheRecord) -> None:
        """Store the record in the index below."""
        self._inner.store(keys, record)

    def preimage(self, key: Digest) -> bytes | None:
        """The bytes that a key is the digest of."""
        return self._inner.preimage(key)

    def items(self) -> Iterator[tuple[Digest, CacheRecord, float]]:
        """What the index below holds."""
        return self._inner.items()

    def forget(self, key: Digest) -> bool:
        """Remove a key from the index below."""
        return self._inner.forget(key)

    def close(self) -> None:
        """Close the index below."""
        self._inner.close()

    def _record(self, result: CachedResult, key: Digest) -> CacheRecord | None:
        step = self._steps.get(key)
        # For a key of contents the layers below are put in their place by whoever asked.
        below = base_of(step) if step else tuple(Layer(one, _plain(one, 0)) for one in result.base)
        own = [self._layer(diff_id) for diff_id in result.layers]
        layers = (*below, *(layer for layer in own if layer is not None))
        if tuple(layer.diff_id for layer in layers) != result.base + result.layers:
            return None
        record = CacheRecord(
            layers=layers, content=result.content, created=time.time(), layer_size=result.size, duration=0.0
        )
        if step is not None:
            self._inner.store([(step.digest, step.preimage)], record)
        return record

    def _layer(self, diff_id: Digest) -> Layer | None:
        size = self._blobs.stat(diff_id)
        if size is not None:
            return Layer(diff_id, _plain(diff_id, size))
        form = self._caches.form(diff_id)
        return None if form is None else Layer(diff_id, _bare(form))


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
        absent = [layer for layer in layers if self._is_absent(layer)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._fetch(layer)) for layer in absent]
        problems = [problem for task in tasks for problem in [task.result()] if problem is not None]
        if problems:
            self.lost = problems[0]
            raise problems[0]
        await self._inner.ensure(layers)

    def index(self, layer: Layer) -> LayerIndex:
        """The list of a layer's entries."""
        return self._inner.index(layer)

    def remember(self, diff_id: Digest, index: LayerIndex) -> None:
        """Keep the index of a layer that was just written."""
        self._inner.remember(diff_id, index)

    def open_tar(self, layer: Layer) -> TarReader:
        """The layer's uncompressed archive."""
        return self._inner.open_tar(layer)

    def read(self, layer: Layer, offset: int, size: int) -> bytes:
        """Bytes of the uncompressed archive."""
        return self._inner.read(layer, offset, size)

    def _is_absent(self, layer: Layer) -> bool:
        blob = layer.descriptor.digest
        if not self._caches.is_reachable(blob):
            return False
        return self._blobs.stat(blob) is None and self._blobs.stat(layer.diff_id) is None

    async def _fetch(self, layer: Layer) -> CacheLost | None:
        """Fetch a layer from the first source that has it; gives the problem of the last one that failed."""
        blob = layer.descriptor
        async with self._locks.setdefault(blob.digest, asyncio.Lock()):
            if not self._is_absent(layer):
                return None
            problem: Exception | None = None
            shown = ""
            for source in self._caches.sources(blob.digest):
                shown = source.shown
                try:
                    await source.fetch((blob,), self._blobs, self._sink)
                    await asyncio.to_thread(check_content, layer, self._blobs)
                except (RegistryError, ImageError, OSError) as failure:
                    problem = failure
                else:
                    return None
            self._caches.lose(blob.digest)
            lost = CacheLost(f"layer {blob.digest.short} of the cache {shown} cannot be used: {problem}")
            lost.__cause__ = problem
            return lost


def check_content(layer: Layer, blobs: BlobStore) -> None:
    """
    See whether a compressed layer holds what its diff_id promises; it is removed if not (blocking).

    Raises:
        VerificationFailed: it does not.
        UnsafeLayer: it cannot be decompressed.
    """
    from oci_image.layer.compression import open_decompressed

    hasher = Hasher(layer.diff_id.algorithm)
    try:
        with open_decompressed(blobs.open(layer.descriptor.digest)) as stream:
            while piece := stream.read(_PIECE):
                hasher.update(piece)
        if hasher.digest() != layer.diff_id:
            raise VerificationFailed(f"its content is {hasher.digest()}, not {layer.diff_id}")
    except ImageError:
        blobs.delete(layer.descriptor.digest)
        raise


def absent_layers(layers: Sequence[Layer], blobs: BlobStore) -> list[Layer]:
    """The layers that are in a store neither compressed nor plain."""
    return [
        one for one in layers if blobs.stat(one.descriptor.digest) is None and blobs.stat(one.diff_id) is None
    ]


def _plain(diff_id: Digest, size: int) -> Descriptor:
    return Descriptor(media_type=mediatypes.OCI_LAYER, digest=diff_id, size=size)


def _bare(form: Descriptor) -> Descriptor:
    return Descriptor(media_type=form.media_type, digest=form.digest, size=form.size)
