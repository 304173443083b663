"""
Imported caches in the place of local results: what several caches hold, and an index over it.

Nothing is fetched for a hit, and nothing is believed of a layer's content until somebody looked into it; see
`layers`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.image import Layer
from oci_image.store.base import BlobStore

from ..caching.above import IndexAbove
from ..caching.records import CacheIndex, CacheRecord, is_complete
from ..graph import BuildGraph, Step
from .document import CachedResult
from .gathering import base_of
from .places import CacheSource, ImportedCache


class ImportedCaches:
    """What the sources of one build hold, and which of their layers turned out to be lost."""

    def __init__(self, caches: Sequence[tuple[CacheSource, ImportedCache]]) -> None:
        self.caches = tuple(caches)
        self._results: dict[Digest, list[CachedResult]] = {}
        self._forms: dict[Digest, list[Descriptor]] = {}
        self._sources: dict[Digest, list[CacheSource]] = {}
        self.proven: set[Digest] = set()
        """Blobs that are here, and whose content was compared with the diff_id under which it is used."""
        for source, cache in self.caches:
            for result in cache.results:
                for key in dict.fromkeys((result.definition, result.content)):
                    self._results.setdefault(key, []).append(result)
            for diff_id, form in cache.layers.items():
                self._forms.setdefault(diff_id, []).append(form)
                self._sources.setdefault(form.digest, []).append(source)
        self._imported = frozenset(self._sources)

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

    def is_proven(self, layers: Sequence[Layer]) -> bool:
        """Whether nothing about the layers is known from an import only."""
        return all(
            layer.descriptor.digest in self.proven
            or layer.descriptor.digest == layer.diff_id
            or layer.descriptor.digest not in self._imported
            for layer in layers
        )

    def lose(self, blob: Digest) -> None:
        """Take note that a blob cannot be had, or is not what it should be."""
        self._sources.pop(blob, None)

    def remember(self, layers: Sequence[Layer]) -> None:
        """Let every source note what it has of these layers."""
        for source, _ in self.caches:
            source.remember([one for one in layers if source in self.sources(one.descriptor.digest)])


class ImportingIndex(IndexAbove):
    """
    A cache index that finds imported results where it has none of its own that are complete.

    An imported result goes into the index below, by `settle`, when its layers are here and hold what they
    should; so that the index below never knows what only an import says.
    """

    def __init__(
        self, inner: CacheIndex, caches: ImportedCaches, graphs: Sequence[BuildGraph], blobs: BlobStore
    ) -> None:
        super().__init__(inner)
        self._caches = caches
        self._blobs = blobs
        self._steps: Mapping[Digest, Step] = {step.digest: step for graph in graphs for step in graph.steps()}
        self._pending: dict[Digest, tuple[bytes, CacheRecord]] = {}

    def lookup(self, key: Digest) -> CacheRecord | None:
        """The record under a key: the local one if it is complete, else an imported one."""
        if key in self._pending:
            return self._pending[key][1]
        local = self._inner.lookup(key)
        for result in self._caches.results(key):
            if local is not None and is_complete(local, self._blobs, len(result.base)):
                self._caches.proven.update(layer.descriptor.digest for layer in local.layers)
                return local
            record = self._record(result, key)
            if record is not None:
                return record
        return local

    def store(self, keys: Sequence[tuple[Digest, bytes]], record: CacheRecord) -> None:
        """Store the record, in the index below only when none of its layers is just said to be something."""
        if self._caches.is_proven(record.layers):
            self._inner.store(keys, record)
            for key, _ in keys:
                self._pending.pop(key, None)
        else:
            self._pending.update((key, (preimage, record)) for key, preimage in keys)

    def settle(self) -> None:
        """Store imported results whose layers came meanwhile in the index below."""
        for key, (preimage, record) in list(self._pending.items()):
            self.store([(key, preimage)], record)

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
            self.store([(step.digest, step.preimage)], record)
        return record

    def _layer(self, diff_id: Digest) -> Layer | None:
        size = self._blobs.stat(diff_id)
        if size is not None:
            return Layer(diff_id, _plain(diff_id, size))
        form = self._caches.form(diff_id)
        return None if form is None else Layer(diff_id, _bare(form))


def absent_layers(layers: Sequence[Layer], blobs: BlobStore) -> list[Layer]:
    """The layers that are in a store neither compressed nor plain."""
    return [
        one for one in layers if blobs.stat(one.descriptor.digest) is None and blobs.stat(one.diff_id) is None
    ]


def _plain(diff_id: Digest, size: int) -> Descriptor:
    return Descriptor(media_type=mediatypes.OCI_LAYER, digest=diff_id, size=size)


def _bare(form: Descriptor) -> Descriptor:
    return Descriptor(media_type=form.media_type, digest=form.digest, size=form.size)
