"""
One export: what was gathered, made into a package, and written to its destination.

A layer that only an imported cache has is copied from registry to registry without passing through here
where that is possible, and fetched where it is not; results whose layers cannot be had are left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.errors import ImageError
from oci_image.image import Layer
from oci_image.store.base import BlobStore
from oci_image.store.layout import LayoutBlobStore
from registry.errors import RegistryError

from ..errors import BuildError, CacheLost
from ..events import EventSink
from ..graph import BuildGraph
from ..host import Host
from ..scratch import Scratch
from .document import CachedMount
from .gathering import Gathered, gather
from .imported import ImportedCaches, absent_layers
from .options import CacheExport
from .packaging import package, plain_layers
from .places import CacheDestination

PROBLEMS = (ImageError, RegistryError, BuildError, OSError)
"""What may go wrong with a cache without being a mistake of ours."""


class Exporting:
    """
    The exports after one build.

    Args:
        graphs: its plans.
        host: its effects, with imported caches where there are any.
        imported: those caches.
        sink: takes notices.
    """

    def __init__(
        self, graphs: Sequence[BuildGraph], host: Host, imported: ImportedCaches | None, sink: EventSink
    ) -> None:
        self._graphs = graphs
        self._host = host
        self._imported = imported or ImportedCaches([])
        self._sink = sink

    async def export(self, option: CacheExport, destination: CacheDestination) -> str:
        """
        Write a cache; gives a line about it.

        Raises:
            ImageError, RegistryError, BuildError, OSError: it cannot be written.
        """
        gathered = await self._gathered(option, destination)
        scratch = Scratch(self._host.state)
        try:
            front = LayoutBlobStore(scratch.new_directory("cache"), durable=False)
            if option.recompress:
                gathered = await asyncio.to_thread(self._plain, gathered, front, option.encoder.kind)
            mounts = await asyncio.to_thread(self._packed, front) if option.mounts else []
            if not gathered.results and not mounts:
                return f"nothing to export to {destination.shown}"
            made = await asyncio.to_thread(package, gathered, mounts, front, self._host.blobs)
            digest = await destination.write(made, self._sink)
        finally:
            await asyncio.to_thread(scratch.close)
        counts = [_counted(len(gathered.results), "step"), _counted(len(gathered.layers), "layer")]
        if option.mounts:
            counts.append(_counted(len(mounts), "cache mount"))
        return f"wrote cache manifest {digest} to {destination.shown}: {', '.join(counts)}"

    async def _gathered(self, option: CacheExport, destination: CacheDestination) -> Gathered:
        blobs = self._host.blobs
        while True:
            gathered = gather(
                self._graphs, self._host.cache.lookup, self._is_usable, all_steps=option.all_steps
            )
            absent = absent_layers(gathered.layers, blobs)
            self._imported.remember(absent)
            if not destination.needs_bytes and not option.recompress:
                absent = [one for one in absent if self._imported.registries(one.descriptor.digest) == {""}]
            try:
                await self._host.layers.ensure(tuple(absent))
            except CacheLost:
                continue  # gathered again without what needs the layer
            return replace(gathered, layers=tuple(_resting(layer, blobs) for layer in gathered.layers))

    def _is_usable(self, layer: Layer) -> bool:
        blob = layer.descriptor.digest
        return self._imported.is_reachable(blob) or not absent_layers([layer], self._host.blobs)

    def _plain(self, gathered: Gathered, front: BlobStore, compression: str) -> Gathered:
        layers = tuple(plain_layers(gathered.layers, self._host.layers, front, compression))
        return replace(gathered, layers=layers)

    def _packed(self, front: BlobStore) -> list[tuple[CachedMount, Layer]]:
        from .mounts import pack_mounts

        host = self._host
        return pack_mounts(self._graphs, host.state, front, self._sink, user_namespace=host.user_namespace)


def reason(problem: Exception) -> str:
    """What went wrong, for a sentence."""
    if isinstance(problem, OSError) and problem.strerror:
        return f"{problem.strerror}: {problem.filename}" if problem.filename else problem.strerror
    return str(problem)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _resting(layer: Layer, blobs: BlobStore) -> Layer:
    """The layer in the form in which it is here, or in its own if it is not."""
    size = blobs.stat(layer.diff_id)
    if blobs.stat(layer.descriptor.digest) is not None or size is None:
        return layer
    return Layer(layer.diff_id, Descriptor(media_type=mediatypes.OCI_LAYER, digest=layer.diff_id, size=size))
