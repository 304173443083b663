"""
Caches in registries: a manifest under a tag of its own, or the annotation of an image.

Layers of a hit stay where they are until they are needed, and never pass through this machine when they are
exported to, or pushed to, a repository of the same registry.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Document, Index, Manifest
from oci_image.errors import InvalidDocument
from oci_image.image import Layer
from oci_image.layer.encoders import Encoder
from oci_image.mediatypes import ALL_MANIFESTS
from oci_image.reference import Reference
from oci_image.store.base import BlobStore
from oci_image.store.memory import MemoryBlobStore
from oci_image.store.notes import AS_PULLED, Notes
from registry.client.client import RegistryClient
from registry.client.fetching import fetch_blob, read_blob
from registry.client.parallel import together
from registry.client.progress import BlobProgress, ignore_progress
from registry.client.pushing import ImageSource, push
from registry.errors import ApiError

from ..events import EventSink, TaskDone, TaskProgress, TaskStarted
from .document import CachedResult
from .places import ImportedCache, Package, read_cache

if TYPE_CHECKING:
    from registry.client.transport import Transport

Connect = Callable[[], "AbstractAsyncContextManager[Transport]"]
"""Opens the door to registries."""

_MOST_IMAGES = 64


class RegistrySource:
    """
    A cache in a registry.

    Args:
        reference: its name.
        connect: opens the door to registries.
        notes: told who holds the layers of hits.
    """

    def __init__(self, reference: Reference, connect: Connect, notes: Notes) -> None:
        self._reference = reference
        self._connect = connect
        self._notes = notes

    @property
    def shown(self) -> str:
        """The name."""
        return self._reference.familiar

    @property
    def registry(self) -> str:
        """The registry."""
        return self._reference.registry

    async def read(self) -> ImportedCache | None:
        """What is there under the name; None when nothing is."""
        name = self._reference.digest or self._reference.identifier
        async with self._connect() as transport:
            client = RegistryClient(transport, self._reference.registry)
            try:
                document = await client.get_manifest(self._reference.repository, name)
            except ApiError as problem:
                if problem.status == 404:
                    return None
                raise
            return await self._read(client, document)

    async def fetch(self, layers: Sequence[Descriptor], blobs: BlobStore, sink: EventSink) -> None:
        """Copy layers into a store, verified."""
        title = f"fetching layers from {self.shown}"
        sink(TaskStarted(title, time.monotonic()))
        async with self._connect() as transport:
            client = RegistryClient(transport, self._reference.registry)
            repository, report = self._reference.repository, _reporter(title, sink)
            await together(fetch_blob(client, repository, layer, blobs, report) for layer in layers)
        sink(TaskDone(title, time.monotonic()))

    def remember(self, layers: Sequence[Layer]) -> None:
        """Note that the repository has the layers, and in which form."""
        for layer in layers:
            place = f"{self._reference.registry}/{self._reference.repository}"
            self._notes.remember_source(layer.descriptor.digest, place)
            self._notes.remember_variant(layer.diff_id, AS_PULLED, layer.descriptor)

    async def _read(
        self, client: RegistryClient, document: Document[Manifest | Index]
    ) -> ImportedCache | None:
        async def read(blob: Descriptor) -> bytes:
            memory = MemoryBlobStore()
            await fetch_blob(client, self._reference.repository, blob, memory, ignore_progress)
            return read_blob(memory, blob)

        if isinstance(document.value, Manifest):
            return await read_cache(document.value, read, self.shown)
        entries = document.value.manifests
        if not all(entry.media_type in ALL_MANIFESTS for entry in entries):
            # BuildKit's older form: an index whose entries are layers.
            raise InvalidDocument(f"{self.shown} is no cache of pybuild, but perhaps one of BuildKit")
        caches = []
        for entry in entries[:_MOST_IMAGES]:
            inner = await client.get_manifest(self._reference.repository, entry.digest)
            if isinstance(inner.value, Manifest) and inner.value.annotations:
                caches.append(await read_cache(inner.value, read, self.shown))
        if not caches:
            raise InvalidDocument(f"{self.shown} is an index of images with no cache in them")
        return _merged(caches)


class RegistryDestination:
    """
    A name in a registry that a cache is written to.

    Args:
        reference: which one.
        encoder: how layers are compressed that rest uncompressed.
        connect: opens the door to registries.
        notes: remembers the forms of layers, and who holds them.
    """

    title = "exporting cache to registry"
    needs_bytes = False

    def __init__(self, reference: Reference, encoder: Encoder, connect: Connect, notes: Notes) -> None:
        self._reference = reference
        self._encoder = encoder
        self._connect = connect
        self._notes = notes

    @property
    def shown(self) -> str:
        """The name."""
        return self._reference.familiar

    async def write(self, package: Package, sink: EventSink) -> Digest:
        """Push the cache as an image is pushed: what is missing first, the manifest at last."""
        async with self._connect() as transport:
            pushed = await push(
                RegistryClient(transport, self._reference.registry),
                ImageSource(blobs=package.blobs, root=package.manifest.descriptor),
                self._reference,
                notes=self._notes,
                encoder=self._encoder,
                on_progress=_reporter(self.title, sink),
            )
        return pushed.digest


def _merged(caches: Sequence[ImportedCache]) -> ImportedCache:
    results: list[CachedResult] = []
    layers: dict[Digest, Descriptor] = {}
    for cache in caches:
        results += cache.results
        layers.update(cache.layers)
    return ImportedCache(results=tuple(results), layers=layers)


def _reporter(title: str, sink: EventSink) -> Callable[[BlobProgress], None]:
    def report(progress: BlobProgress) -> None:
        item = f"{progress.digest.short} {progress.what.value}"
        sink(TaskProgress(title, item, progress.done, progress.total or 0))

    return report
