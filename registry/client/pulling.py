"""
Pulling images: manifest, configuration, layers; verified all the way.

Invariants: the store gets a manifest only after everything that it names (unless layers were not asked for);
documents are stored as they came. Governing source: OCI distribution-spec, "Pull".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from oci_image import mediatypes
from oci_image.config import ImageConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Document, Index, Manifest, read_config, read_manifest
from oci_image.errors import InvalidDocument, NotFound, VerificationFailed
from oci_image.image import Image
from oci_image.jsonbytes import DOCUMENT_LIMIT
from oci_image.platform import Platform
from oci_image.reference import Reference
from oci_image.store.base import BlobStore
from oci_image.store.memory import MemoryBlobStore
from oci_image.store.notes import AS_PULLED, Notes

from .client import RegistryClient
from .fetching import fetch_blob, is_here, read_blob
from .parallel import together
from .platforms import choose
from .progress import OnProgress, ignore_progress

_NESTING_LIMIT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """
    What a pull found.

    Attributes:
        root: what the reference stands for: a manifest, or an index.
        images: the image for the platform, or those of all platforms.
    """

    root: Document[Manifest | Index]
    images: tuple[Image, ...]

    @property
    def image(self) -> Image:
        """
        The only image.

        Raises:
            InvalidDocument: there is none, or more than one.
        """
        if len(self.images) != 1:
            raise InvalidDocument(f"{self.root.digest} stands for {len(self.images)} images")
        return self.images[0]


async def pull(
    client: RegistryClient,
    reference: Reference,
    platform: Platform | None,
    blobs: BlobStore,
    *,
    notes: Notes,
    layers: Literal["all", "none"] = "all",
    on_progress: OnProgress = ignore_progress,
    concurrency: int = 4,
) -> Pulled:
    """
    Pull the image for a platform, or (platform None) everything under the reference.

    Args:
        client: of the reference's registry.
        reference: what is pulled; a digest wins over a tag.
        platform: which image of an index; None pulls all of them and stores the index.
        blobs: where to.
        notes: told who holds each layer and in which form.
        layers: ``none`` leaves the layers to `fetch_layers`.
        on_progress: told what happens to each blob.
        concurrency: how many layers are fetched at once.

    Raises:
        NotFound: the reference, or an image for the platform, does not exist.
        VerificationFailed, InvalidDocument: the registry delivered something else than it promised.
        RegistryError: it refused, or cannot be reached.
    """
    work = _Pull(
        client,
        reference,
        blobs,
        notes=notes,
        on_progress=on_progress,
        concurrency=concurrency,
        with_layers=layers == "all",
    )
    root = await work.root()
    if platform is None:
        return Pulled(root=root, images=tuple(await work.everything(root, 0)))
    return Pulled(root=root, images=(await work.for_platform(root, platform),))


class _Pull:
    def __init__(
        self,
        client: RegistryClient,
        reference: Reference,
        blobs: BlobStore,
        *,
        notes: Notes,
        on_progress: OnProgress,
        concurrency: int,
        with_layers: bool,
    ) -> None:
        self._client = client
        self._reference = reference
        self._repository = reference.repository
        self._location = f"{reference.registry}/{reference.repository}"
        self._blobs = blobs
        self._notes = notes
        self._on_progress = on_progress
        self._slots = asyncio.Semaphore(max(1, concurrency))
        self._with_layers = with_layers

    async def root(self) -> Document[Manifest | Index]:
        digest = self._reference.digest
        if digest is None:
            found = await self._client.head_manifest(self._repository, self._reference.identifier)
            if found is None:
                raise NotFound(f"{self._reference} does not exist", hint="check the name and the tag")
            digest = found.digest
        return await self._manifest(digest)

    async def for_platform(self, document: Document[Manifest | Index], platform: Platform) -> Image:
        for _ in range(_NESTING_LIMIT):
            if isinstance(document.value, Manifest):
                return await self._image(document, document.value)
            entry = choose(document.value, platform, str(self._reference))
            document = await self._manifest(entry.digest)
        raise InvalidDocument(f"{self._reference}: indexes are nested too deeply")

    async def everything(self, document: Document[Manifest | Index], depth: int) -> list[Image]:
        if isinstance(document.value, Manifest):
            if document.value.config.media_type in mediatypes.CONFIGS:
                return [await self._image(document, document.value)]
            await self._artifact(document, document.value)
            return []
        if depth >= _NESTING_LIMIT:
            raise InvalidDocument(f"{self._reference}: indexes are nested too deeply")
        images: list[Image] = []
        for entry in document.value.manifests:
            images += await self.everything(await self._manifest(entry.digest), depth + 1)
        await self._keep(document.raw, document.descriptor)
        return images

    async def _manifest(self, digest: Digest) -> Document[Manifest | Index]:
        size = self._blobs.stat(digest)
        if size is not None and size <= DOCUMENT_LIMIT:
            here = Descriptor(media_type="", digest=digest, size=size)
            with suppress(VerificationFailed):  # damaged here: the registry's replaces it
                raw = await asyncio.to_thread(read_blob, self._blobs, here)
                return read_manifest(raw, "", f"{self._location}: manifest {digest}")
        return await self._client.get_manifest(self._repository, digest)

    async def _image(self, document: Document[Manifest | Index], manifest: Manifest) -> Image:
        what = f"{self._location}: manifest {document.digest}"
        if manifest.config.media_type not in mediatypes.CONFIGS:
            kind = manifest.artifact_type or manifest.config.media_type
            raise InvalidDocument(f"{what} is no container image but {kind}")
        raw = await self._small_blob(manifest.config)
        config = read_config(
            raw, manifest.config, f"{self._location}: configuration {manifest.config.digest}"
        )
        self._check_layers(manifest, config, what)
        if self._with_layers:
            await self._fetch(manifest.layers)
        await self._keep(raw, manifest.config)
        await self._keep(document.raw, document.descriptor)
        self._remember(manifest, config)
        typed = Document(raw=document.raw, value=manifest, descriptor=document.descriptor)
        return Image(typed, config)

    async def _artifact(self, document: Document[Manifest | Index], manifest: Manifest) -> None:
        raw = await self._small_blob(manifest.config)
        if self._with_layers:
            await self._fetch(manifest.layers)
        await self._keep(raw, manifest.config)
        await self._keep(document.raw, document.descriptor)
        for blob in (*manifest.layers, manifest.config):
            self._notes.remember_source(blob.digest, self._location)

    async def _small_blob(self, descriptor: Descriptor) -> bytes:
        if is_here(self._blobs, descriptor):
            with suppress(VerificationFailed):
                return await asyncio.to_thread(read_blob, self._blobs, descriptor)
        if descriptor.size > DOCUMENT_LIMIT:
            raise InvalidDocument(
                f"{self._location}: configuration {descriptor.digest} is too large: {descriptor.size} bytes"
            )
        memory = MemoryBlobStore()
        await fetch_blob(self._client, self._repository, descriptor, memory, self._on_progress)
        return read_blob(memory, descriptor)

    async def _fetch(self, layers: Iterable[Descriptor]) -> None:
        async def one(layer: Descriptor) -> None:
            async with self._slots:
                await fetch_blob(self._client, self._repository, layer, self._blobs, self._on_progress)

        await together(one(layer) for layer in {layer.digest: layer for layer in layers}.values())

    async def _keep(self, raw: bytes, descriptor: Descriptor) -> None:
        def write() -> None:
            with suppress(NotFound, VerificationFailed):
                read_blob(self._blobs, descriptor)
                return  # it is here, and intact
            with self._blobs.writer(descriptor.digest.algorithm) as sink:
                sink.write(raw)
                sink.commit(descriptor.digest)

        await asyncio.to_thread(write)

    def _check_layers(self, manifest: Manifest, config: Document[ImageConfig], what: str) -> None:
        diff_ids = config.value.diff_ids
        plain = (mediatypes.OCI_LAYER, mediatypes.DOCKER_LAYER)
        if not any(layer.media_type in plain for layer in manifest.layers):
            return
        if len(diff_ids) != len(manifest.layers):
            raise InvalidDocument(
                f"{what}: {len(manifest.layers)} layers in the manifest, {len(diff_ids)} in the configuration"
            )
        for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
            same = layer.digest.algorithm == diff_id.algorithm
            if layer.media_type in plain and same and layer.digest != diff_id:
                raise VerificationFailed(f"{what}: layer {layer.digest} is {diff_id} in the configuration")

    def _remember(self, manifest: Manifest, config: Document[ImageConfig]) -> None:
        for blob in (*manifest.layers, manifest.config):
            self._notes.remember_source(blob.digest, self._location)
        if len(config.value.diff_ids) == len(manifest.layers):
            for layer, diff_id in zip(manifest.layers, config.value.diff_ids, strict=True):
                self._notes.remember_variant(diff_id, AS_PULLED, layer)
