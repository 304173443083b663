"""
A gathered cache as a manifest: the package that every destination takes.

What is made only for the export (documents, layers of cache mounts, layers that are to be compressed anew)
lies in a scratch store beside the local one, and goes with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Manifest, author_manifest, describe
from oci_image.image import Layer
from oci_image.store.base import BlobStore, BlobWriter

from ..host import LayerSource
from .document import CACHE_CONFIG, CachedMount, CacheDocument
from .gathering import Gathered
from .places import Package

_PIECE = 1 << 20


class StackedBlobs:
    """A store in front of another one: reads from both, writes to the one in front."""

    def __init__(self, front: BlobStore, behind: BlobStore) -> None:
        self._front = front
        self._behind = behind

    def stat(self, digest: Digest) -> int | None:
        """The size in bytes, or None."""
        size = self._front.stat(digest)
        return self._behind.stat(digest) if size is None else size

    def open(self, digest: Digest, offset: int = 0, length: int | None = None) -> BinaryIO:
        """A reader of (a part of) the blob."""
        store = self._behind if self._front.stat(digest) is None else self._front
        return store.open(digest, offset, length)

    def writer(self, algorithm: str = "sha256") -> BlobWriter:
        """A writer of the store in front."""
        return self._front.writer(algorithm)

    def delete(self, digest: Digest) -> bool:
        """Remove a blob of the store in front."""
        return self._front.delete(digest)

    def digests(self) -> Iterator[Digest]:
        """Every blob, each once."""
        return iter({*self._front.digests(), *self._behind.digests()})


def package(
    gathered: Gathered, mounts: Sequence[tuple[CachedMount, Layer]], front: BlobStore, behind: BlobStore
) -> Package:
    """
    Author the documents of a cache, and store them (blocking).

    Args:
        gathered: results with their layers.
        mounts: what cache mounts hold.
        front: takes the documents; has the layers of the mounts.
        behind: the local store.
    """
    layers = {layer.diff_id: layer for layer in (*gathered.layers, *(layer for _, layer in mounts))}
    document = CacheDocument(
        layers=tuple(layers), results=gathered.results, mounts=tuple(mount for mount, _ in mounts)
    )
    config = document.to_bytes()
    manifest = author_manifest(
        Manifest(
            config=describe(config, CACHE_CONFIG),
            layers=tuple(layer.descriptor for layer in layers.values()),
            artifact_type=CACHE_CONFIG,
        )
    )
    for raw in (config, manifest.raw):
        with front.writer() as writer:
            writer.write(raw)
            writer.commit()
    blobs = StackedBlobs(front, behind)
    return Package(manifest=manifest, config=config, layers=tuple(layers.values()), blobs=blobs)


def plain_layers(
    layers: Iterable[Layer], source: LayerSource, front: BlobStore, compression: str
) -> Iterator[Layer]:
    """
    The same layers, but those that rest in another compression than this one decompressed (blocking).

    Raises:
        ImageError: one is damaged.
    """
    for layer in layers:
        if mediatypes.layer_compression(layer.descriptor.media_type) in ("none", compression):
            yield layer
            continue
        stream = source.open_tar(layer)
        try:
            with front.writer() as writer:
                while piece := stream.read(_PIECE):
                    writer.write(piece)
                size = writer.size
                writer.commit(layer.diff_id)
        finally:
            stream.close()
        yield Layer(
            layer.diff_id, Descriptor(media_type=mediatypes.OCI_LAYER, digest=layer.diff_id, size=size)
        )
