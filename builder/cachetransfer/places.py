"""
Where caches lie: what a source of an import and a destination of an export guarantee.

`read_manifest_of` turns a manifest of any origin into an `ImportedCache`, or says why it is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Document, Manifest
from oci_image.errors import InvalidDocument
from oci_image.image import Layer
from oci_image.jsonbytes import DOCUMENT_LIMIT, decode_object
from oci_image.mediatypes import CONFIGS
from oci_image.store.base import BlobStore

from ..events import EventSink
from .document import BUILDKIT_CONFIG, CACHE_CONFIG, CachedMount, CacheDocument, CachedResult
from .inline import ANNOTATION, read_inline

ReadBlob = Callable[[Descriptor], Awaitable[bytes]]
"""Gives the verified bytes of a small blob."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedCache:
    """What one source holds: results, and by diff_id the form in which it has each layer."""

    results: tuple[CachedResult, ...]
    layers: Mapping[Digest, Descriptor] = field(hash=False)
    mounts: tuple[CachedMount, ...] = ()


class CacheSource(Protocol):
    """A place that a cache is imported from. Blobs that it delivers are verified by digest."""

    @property
    def shown(self) -> str:
        """How messages call it."""
        ...

    @property
    def registry(self) -> str:
        """The registry that keeps its layers, "" for a place that may be gone after the build."""
        ...

    async def read(self) -> ImportedCache | None:
        """
        What it holds; None when nothing was ever written there.

        Raises:
            InvalidDocument: what is there is no cache that can be used.
            ImageError, RegistryError, OSError: it cannot be read.
        """
        ...

    async def fetch(self, layers: Sequence[Descriptor], blobs: BlobStore, sink: EventSink) -> None:
        """
        Copy layers into a store, verified.

        Raises:
            ImageError, RegistryError, OSError: one cannot be had, or is damaged.
        """
        ...

    def remember(self, layers: Sequence[Layer]) -> None:
        """Note for later, where that is possible, that the layers can be had here."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """
    What is written to a destination: a cache manifest with plain or compressed layers.

    `blobs` has the manifest, its configuration, and the layers but for those that are known to be elsewhere.
    """

    manifest: Document[Manifest]
    config: bytes
    layers: tuple[Layer, ...]
    blobs: BlobStore


class CacheDestination(Protocol):
    """A place that a cache is exported to; what was there before stays until the new one is complete."""

    @property
    def title(self) -> str:
        """What progress calls the export."""
        ...

    @property
    def shown(self) -> str:
        """How messages call it."""
        ...

    @property
    def needs_bytes(self) -> bool:
        """Whether every layer has to be in the local store, or may lie in a registry."""
        ...

    async def write(self, package: Package, sink: EventSink) -> Digest:
        """
        Write the package, compressing layers that are plain; returns the digest of its manifest there.

        Raises:
            ImageError, RegistryError, BuildError, OSError: it cannot be written.
        """
        ...


async def read_cache(manifest: Manifest, read: ReadBlob, where: str) -> ImportedCache:
    """
    The cache in a manifest: our own kind, or the annotation of an image.

    Raises:
        InvalidDocument: it holds none that can be used; the message says what it is.
    """
    kind = manifest.config.media_type
    if kind == CACHE_CONFIG:
        document = CacheDocument.from_bytes(await _small(manifest.config, read, where), where)
        if len(document.layers) != len(manifest.layers):
            raise InvalidDocument(
                f"{where} has {len(manifest.layers)} layers, but speaks of {len(document.layers)}"
            )
        forms = dict(zip(document.layers, manifest.layers, strict=True))
        return ImportedCache(results=document.results, layers=forms, mounts=document.mounts)
    if kind == BUILDKIT_CONFIG:
        raise InvalidDocument(f"{where} is a cache of BuildKit, which only BuildKit can read")
    if kind not in CONFIGS:
        raise InvalidDocument(f"{where} is no build cache, but {kind or 'of no known type'}")
    config = decode_object(await _small(manifest.config, read, where), where)
    annotation = manifest.annotations.get(ANNOTATION)
    if annotation is None:
        has_foreign = "moby.buildkit.cache.v0" in config
        raise InvalidDocument(
            f"{where} is an image with "
            + ("a cache of BuildKit, which only BuildKit can read" if has_foreign else "no cache in it")
        )
    diff_ids = _diff_ids(config, manifest, where)
    results = read_inline(annotation, diff_ids, where)
    return ImportedCache(results=results, layers=dict(zip(diff_ids, manifest.layers, strict=True)))


async def _small(descriptor: Descriptor, read: ReadBlob, where: str) -> bytes:
    if descriptor.size > DOCUMENT_LIMIT:
        raise InvalidDocument(f"{where}: its configuration has {descriptor.size} bytes, which is too much")
    return await read(descriptor)


def _diff_ids(config: Mapping[str, object], manifest: Manifest, where: str) -> tuple[Digest, ...]:
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list) or len(found) != len(manifest.layers):
        raise InvalidDocument(f"{where}: manifest and configuration disagree about the layers")
    return tuple(Digest.parse(str(one)) for one in found)
