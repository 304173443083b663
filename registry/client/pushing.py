"""
Pushing images: what the registry lacks, in the right order, compressed on the way.

Invariants: no manifest is sent before everything that it names is there; an image whose layers rest as they
were pulled is pushed byte for byte; the same image and encoder give the same manifest. What is learnt (in
which form a layer exists, who holds it) goes to the notes. Governing source: OCI distribution-spec, "Push".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import (
    Document,
    Index,
    Manifest,
    author_index,
    read_manifest,
)
from oci_image.errors import NotFound, VerificationFailed
from oci_image.layer.encoders import DEFAULT_ENCODER, Encoder
from oci_image.reference import Reference
from oci_image.store.base import BlobStore
from oci_image.store.notes import Notes

from ..errors import ApiError
from ..protocol.errors import ErrorCode
from .bodies import Body, body_of_blob
from .client import RegistryClient
from .compressing import CompressedLayer
from .fetching import fetch_layers, is_here, read_blob
from .forms import LayerForms, diff_ids_of, with_layers
from .parallel import together
from .progress import Activity, BlobProgress, OnProgress, ignore_progress
from .uploads import Upload

MOUNT_TRIES = 3
"""From how many remembered repositories a blob is asked for before it is sent."""

_COMPRESSIONS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """
    What is pushed.

    Attributes:
        blobs: holds the manifests, configurations and layers; layers that are missing are fetched from where
            they were pulled.
        root: the manifest or index.
    """

    blobs: BlobStore
    root: Descriptor


async def push(
    client: RegistryClient,
    source: ImageSource,
    reference: Reference,
    *,
    notes: Notes,
    encoder: Encoder = DEFAULT_ENCODER,
    on_progress: OnProgress = ignore_progress,
    concurrency: int = 4,
) -> Descriptor:
    """
    Push an image, or an index with all its images; idempotent.

    Args:
        client: of the reference's registry.
        source: what is pushed.
        reference: the repository, and the tag (without one, the manifest gets none).
        notes: forms and sources of layers, read and extended.
        encoder: how layers that rest uncompressed are compressed.
        on_progress: told what happens to each blob.
        concurrency: how many blobs are transferred at once.

    Returns:
        The descriptor of what the registry holds under the reference now.

    Raises:
        ApiError, TransportProblem, UploadProblem: the registry refused, or it cannot be reached.
        NotFound: a part of the image is neither here nor where it came from.
        VerificationFailed: a blob of the store was damaged.
    """
    work = _Push(
        client,
        source.blobs,
        reference.repository,
        notes=notes,
        encoder=encoder,
        on_progress=on_progress,
        concurrency=concurrency,
    )
    document = await work.read_document(source.root)
    if isinstance(document.value, Index):
        return await work.index(document, document.value, reference.tag)
    return await work.image(document, document.value, reference.tag)


class _Push:
    def __init__(
        self,
        client: RegistryClient,
        blobs: BlobStore,
        repository: str,
        *,
        notes: Notes,
        encoder: Encoder,
        on_progress: OnProgress,
        concurrency: int,
    ) -> None:
        self._client = client
        self._blobs = blobs
        self._repository = repository
        self._location = f"{client.registry}/{repository}"
        self._notes = notes
        self._forms = LayerForms(encoder, notes)
        self._on_progress = on_progress
        self._slots = asyncio.Semaphore(max(1, concurrency))
        self._compressions = asyncio.Semaphore(_COMPRESSIONS)
        self._pushed: dict[Digest, Descriptor] = {}
        self._believe = True

    async def read_document(self, descriptor: Descriptor) -> Document[Manifest | Index]:
        raw = await asyncio.to_thread(read_blob, self._blobs, descriptor)
        return read_manifest(raw, descriptor.media_type, f"manifest {descriptor.digest}")

    async def index(self, document: Document[Manifest | Index], index: Index, tag: str | None) -> Descriptor:
        entries = [await self._entry(entry) for entry in index.manifests]
        whole: Document[Manifest | Index] = document
        if tuple(entries) != index.manifests:
            whole = author_index(replace(index, manifests=tuple(entries)))
        return await self._put(whole, tag)

    async def _entry(self, entry: Descriptor) -> Descriptor:
        if self._blobs.stat(entry.digest) is None:
            if await self._client.head_manifest(self._repository, entry.digest) is not None:
                return entry
            raise NotFound(
                f"the index names the manifest {entry.digest} ({entry.platform or 'no platform'}), "
                "which is not in the store",
                hint="pull all platforms of the image before pushing it",
            )
        document = await self.read_document(entry)
        if isinstance(document.value, Index):
            pushed = await self.index(document, document.value, None)
        else:
            pushed = await self.image(document, document.value, None)
        return replace(entry, digest=pushed.digest, size=pushed.size)

    async def image(
        self, document: Document[Manifest | Index], manifest: Manifest, tag: str | None
    ) -> Descriptor:
        diff_ids = await asyncio.to_thread(diff_ids_of, self._blobs, manifest)
        expected = self._forms.foreseen(document, manifest, diff_ids)
        if expected is not None and await self._is_there(expected, tag):
            for blob in (*manifest.layers, manifest.config):
                self._tell(blob.digest, blob.size, blob.size, Activity.EXISTS)
            self._remember(expected.value, manifest.config)
            return expected.descriptor
        while True:
            layers = await self._layers(manifest, diff_ids)
            whole = with_layers(document, manifest, layers)
            await self._plain(manifest.config)
            try:
                pushed = await self._put(whole, tag)
            except ApiError as problem:
                if problem.code is not ErrorCode.MANIFEST_BLOB_UNKNOWN or not self._believe:
                    raise
                # The registry said that it has blobs and now misses one: send every one of them.
                self._believe = False
                self._pushed.clear()
            else:
                self._remember(whole.value, manifest.config)
                return pushed

    async def _is_there(self, document: Document[Manifest | Index], tag: str | None) -> bool:
        found = await self._client.head_manifest(self._repository, tag or document.digest)
        return found is not None and found.digest == document.digest

    async def _layers(self, manifest: Manifest, diff_ids: tuple[Digest, ...]) -> list[Descriptor]:
        pairs = dict(zip((layer.digest for layer in manifest.layers), diff_ids, strict=True))
        unique = {layer.digest: layer for layer in manifest.layers}
        forms = await together(
            self._layer(layer, pairs[digest], manifest) for digest, layer in unique.items()
        )
        found = dict(zip(unique, forms, strict=True))
        # The same blob may be a layer twice, with annotations of its own each time.
        return [
            replace(layer, media_type=form.media_type, digest=form.digest, size=form.size)
            for layer in manifest.layers
            for form in (found[layer.digest],)
        ]

    async def _layer(self, layer: Descriptor, diff_id: Digest, manifest: Manifest) -> Descriptor:
        if layer.urls and mediatypes.is_foreign(layer.media_type):
            return layer
        if not self._forms.changes(layer):
            await self._plain(layer)
            return layer
        return await self._compressed(layer, diff_id, manifest)

    async def _plain(self, blob: Descriptor) -> None:
        """Push a blob as it rests."""
        if blob.digest in self._pushed:
            return
        async with self._slots:
            upload = self._upload(blob, lambda done: done)
            if not await self._is_had(blob, upload):
                await self._fetch(blob)
                await self._send(upload, body_of_blob(self._blobs, blob), blob, blob.size)
        self._pushed[blob.digest] = blob

    async def _compressed(self, layer: Descriptor, diff_id: Digest, manifest: Manifest) -> Descriptor:
        """Push a layer that rests uncompressed in its compressed form."""
        done = self._pushed.get(layer.digest)
        if done is not None:
            return self._forms.made(layer, manifest, done.digest, done.size)
        form = self._forms.known(layer, diff_id, manifest)
        async with self._slots:
            made = CompressedLayer(self._blobs, layer, self._forms.encoder)
            upload = self._upload(layer, lambda sent: made.consumed or sent)
            if form is None or not await self._is_had(form, upload, shown=layer):
                body: Body = made
                if form is not None and is_here(self._blobs, form):
                    body = body_of_blob(self._blobs, form)
                async with self._compressions:
                    sent = await self._send(upload, body, layer, layer.size)
                form = self._forms.made(layer, manifest, sent.digest, sent.size)
                self._forms.remember(diff_id, form)
        self._pushed[layer.digest] = form
        return form

    async def _fetch(self, blob: Descriptor) -> None:
        """Get a blob that is not here from where it was pulled."""
        if self._blobs.stat(blob.digest) is None:
            await fetch_layers(
                self._client.transport,
                (blob,),
                self._blobs,
                notes=self._notes,
                on_progress=self._on_progress,
            )

    async def _is_had(self, blob: Descriptor, upload: Upload, *, shown: Descriptor | None = None) -> bool:
        """Whether the repository has the blob, or got it from another one just now."""
        shown = shown or blob
        if not self._believe:
            return False
        with contextlib.suppress(VerificationFailed):  # it has something else: sending the blob repairs it
            if await self._client.has_blob(self._repository, blob):
                self._tell(shown.digest, shown.size, shown.size, Activity.EXISTS)
                return True
        for repository in self._mountable(blob.digest):
            if await upload.mount(blob.digest, repository):
                self._tell(shown.digest, shown.size, shown.size, Activity.MOUNTED)
                return True
        return False

    def _mountable(self, digest: Digest) -> Iterable[str]:
        prefix = self._client.registry + "/"
        places = [place for place in self._notes.sources(digest) if place != self._location]
        return [place.removeprefix(prefix) for place in places if place.startswith(prefix)][:MOUNT_TRIES]

    def _upload(self, shown: Descriptor, position: Callable[[int], int]) -> Upload:
        def report(done: int) -> None:
            self._tell(shown.digest, position(done), shown.size, Activity.PUSHING)

        return Upload(self._client.transport, self._client.registry, self._repository, report)

    async def _send(self, upload: Upload, body: Body, shown: Descriptor, total: int) -> Descriptor:
        self._tell(shown.digest, 0, total, Activity.PUSHING)
        sent = await upload.push(body, shown.media_type)
        self._tell(shown.digest, total, total, Activity.DONE)
        return sent

    async def _put(self, document: Document[Manifest | Index], tag: str | None) -> Descriptor:
        await self._client.put_manifest(self._repository, tag or document.digest, document)
        return document.descriptor

    def _remember(self, manifest: Manifest | Index, config: Descriptor) -> None:
        layers = manifest.layers if isinstance(manifest, Manifest) else ()
        for blob in (*layers, config):
            if not blob.urls:
                self._notes.remember_source(blob.digest, self._location)

    def _tell(self, digest: Digest, done: int, total: int, what: Activity) -> None:
        self._on_progress(BlobProgress(digest=digest, done=done, total=total, what=what))
