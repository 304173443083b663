"""
Caches in directories: an OCI image layout, in which a tag names the manifest of the cache.

Blobs appear when they are complete and the index is replaced as a whole, so builds may write to one
directory at once and others read it meanwhile: the last one that finishes has the tag. Blobs of earlier
caches stay, and can be imported by digest, unless the export asks for a reset.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest, Hasher
from oci_image.documents import Document, Manifest, author_manifest, read_manifest
from oci_image.errors import InvalidDocument, VerificationFailed
from oci_image.image import Layer
from oci_image.store.base import BlobStore
from oci_image.store.gc import sweep
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore
from oci_image.store.names import REF_NAME
from oci_image.store.notes import Notes
from oci_image.verify import copy_verified, read_document
from registry.client.forms import LayerForms

from ..events import EventSink
from ..locks import exclusive, try_exclusive
from .options import CacheExport, CacheImport
from .places import ImportedCache, Package, read_cache

_PIECE = 1 << 20


class DirectorySource:
    """A cache in a directory."""

    registry = ""

    def __init__(self, option: CacheImport) -> None:
        self._option = option
        self._blobs = LayoutBlobStore(option.path, durable=False)

    @property
    def shown(self) -> str:
        """The directory."""
        return f"local:{self._option.path}"

    async def read(self) -> ImportedCache | None:
        """What the directory holds; None when it is not there, or has nothing under the tag."""
        return await asyncio.to_thread(self._read)

    async def fetch(self, layers: Sequence[Descriptor], blobs: BlobStore, sink: EventSink) -> None:
        """Copy layers into a store, verified."""
        del sink
        for layer in layers:
            await asyncio.to_thread(self._copy, layer, blobs)

    def remember(self, layers: Sequence[Layer]) -> None:
        """Nothing: the directory may be gone after the build."""

    def _read(self) -> ImportedCache | None:
        descriptor = self._descriptor()
        if descriptor is None:
            return None
        where = f"{self.shown} ({descriptor.digest.short})"
        raw = read_document(self._blobs, descriptor)
        manifest = read_manifest(raw, descriptor.media_type, where).value
        if not isinstance(manifest, Manifest):
            raise InvalidDocument(f"{where} is no cache of pybuild, but an index, as BuildKit may write it")

        async def read(config: Descriptor) -> bytes:
            return read_document(self._blobs, config)

        reading = read_cache(manifest, read, where)
        try:
            reading.send(None)
        except StopIteration as done:
            cache: ImportedCache = done.value
            return cache
        raise AssertionError("reading a directory never waits")

    def _descriptor(self) -> Descriptor | None:
        digest = self._option.digest
        if digest is not None:
            size = self._blobs.stat(digest)
            return None if size is None else Descriptor(media_type="", digest=digest, size=size)
        named = [
            entry
            for entry in LayoutTagStore(self._option.path).entries()
            if entry.annotations.get(REF_NAME) == self._option.tag
        ]
        return replace(named[-1], annotations={}) if named else None  # what was written last is last

    def _copy(self, layer: Descriptor, blobs: BlobStore) -> None:
        with self._blobs.open(layer.digest) as stream, blobs.writer(layer.digest.algorithm) as writer:
            copy_verified(stream, writer, layer)


class DirectoryDestination:
    """
    A directory that a cache is written to.

    Args:
        option: which one, and how.
        notes: remembers the forms of layers, so that what is there already is not compressed again.
    """

    title = "exporting cache to client directory"
    needs_bytes = True

    def __init__(self, option: CacheExport, notes: Notes) -> None:
        self._option = option
        self._forms = LayerForms(option.encoder, notes)

    @property
    def shown(self) -> str:
        """The directory."""
        return f"local:{self._option.path}"

    async def write(self, package: Package, sink: EventSink) -> Digest:
        """Write blobs, then the index."""
        del sink
        lock = os.path.join(self._option.path, "pybuild", "locks", "export")
        async with exclusive(lock, shared=True):
            digest = await asyncio.to_thread(self._write, package)
        if self._option.reset:
            await asyncio.to_thread(self._reset, lock)
        return digest

    def _write(self, package: Package) -> Digest:
        store = LayoutBlobStore(self._option.path, durable=False)
        manifest = package.manifest.value
        pairs = zip(manifest.layers, package.layers, strict=True)
        layers = tuple(self._layer(rests, layer, manifest, package.blobs, store) for rests, layer in pairs)
        whole = author_manifest(replace(manifest, layers=layers))
        _put(store, package.config, manifest.config.digest)
        _put(store, whole.raw, whole.digest)
        LayoutTagStore(self._option.path).set(self._option.tag, _entry(whole))
        return whole.digest

    def _layer(
        self, rests: Descriptor, layer: Layer, manifest: Manifest, blobs: BlobStore, store: LayoutBlobStore
    ) -> Descriptor:
        if not self._forms.changes(rests):
            if store.stat(rests.digest) != rests.size or not store.touch(rests.digest):
                with blobs.open(rests.digest) as stream, store.writer(rests.digest.algorithm) as writer:
                    copy_verified(stream, writer, rests)
            return rests
        known = self._forms.known(rests, layer.diff_id, manifest)
        if known is not None and store.stat(known.digest) == known.size and store.touch(known.digest):
            return known
        form = self._compressed(rests, manifest, blobs, store)
        self._forms.remember(layer.diff_id, form)
        return form

    def _compressed(
        self, rests: Descriptor, manifest: Manifest, blobs: BlobStore, store: LayoutBlobStore
    ) -> Descriptor:
        from oci_image.layer.compression import compress

        with blobs.open(rests.digest) as stream, store.writer() as writer:
            for piece in compress(_checked(stream, rests), self._forms.encoder, threads=os.cpu_count() or 1):
                writer.write(piece)
            size = writer.size
            return self._forms.made(rests, manifest, writer.commit(), size)

    def _reset(self, lock: str) -> None:
        """Remove what the index does not need, unless somebody is writing just now."""
        held = try_exclusive(lock)
        if held is None:
            return
        try:
            path = self._option.path
            sweep(LayoutBlobStore(path, durable=False), LayoutTagStore(path).entries())
        finally:
            held.close()


def _checked(stream: BinaryIO, blob: Descriptor) -> Iterator[bytes]:
    hasher = Hasher(blob.digest.algorithm)
    while piece := stream.read(_PIECE):
        hasher.update(piece)
        yield piece
    if hasher.digest() != blob.digest:
        raise VerificationFailed(f"layer {blob.digest} was damaged in the store")


def _put(store: BlobStore, raw: bytes, digest: Digest) -> None:
    with store.writer() as writer:
        writer.write(raw)
        writer.commit(digest)


def _entry(manifest: Document[Manifest]) -> Descriptor:
    return replace(manifest.descriptor, artifact_type=manifest.value.artifact_type)
