"""
Getting blobs into a store: in parallel, each once, from wherever they are known to be.

Invariant: a blob that is in the store with the right size is not fetched; whatever arrives is verified before
it is visible.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import ImageError, NotFound, VerificationFailed
from oci_image.store.base import BlobStore
from oci_image.store.notes import Notes

from ..errors import RegistryError
from .client import RegistryClient
from .parallel import together
from .progress import Activity, BlobProgress, OnProgress, ignore_progress
from .transport import Transport


async def fetch_layers(
    transport: Transport,
    layers: Iterable[Descriptor],
    blobs: BlobStore,
    *,
    notes: Notes,
    locations: Sequence[str] = (),
    on_progress: OnProgress = ignore_progress,
    concurrency: int = 4,
) -> None:
    """
    Fetch the layers that the store lacks, each from the first place that delivers it.

    Args:
        transport: where requests go.
        layers: what is wanted.
        blobs: where to.
        notes: who holds what; places that turn out not to hold a layer are forgotten.
        locations: places (``registry/repository``) to try after the remembered ones.
        on_progress: told what happens to each blob.
        concurrency: how many are fetched at once.

    Raises:
        NotFound: nobody is known to hold a layer, or no place delivered it; notes say what each one answered.
        RegistryError, VerificationFailed: the only place failed.
    """
    slots = asyncio.Semaphore(max(1, concurrency))

    async def one(layer: Descriptor) -> None:
        async with slots:
            places = tuple(dict.fromkeys((*notes.sources(layer.digest), *locations)))
            await _from_places(transport, layer, blobs, places, notes=notes, on_progress=on_progress)

    missing = {layer.digest: layer for layer in layers if not is_here(blobs, layer)}
    await together(one(layer) for layer in missing.values())


async def fetch_blob(
    client: RegistryClient, repository: str, blob: Descriptor, blobs: BlobStore, on_progress: OnProgress
) -> None:
    """
    Fetch one blob into the store unless it is there.

    Raises:
        VerificationFailed, RegistryError: see `RegistryClient.get_blob`; the store is as before.
    """

    def tell(done: int, what: Activity) -> None:
        on_progress(BlobProgress(digest=blob.digest, done=done, total=blob.size, what=what))

    if is_here(blobs, blob):
        tell(blob.size, Activity.EXISTS)
        return
    tell(0, Activity.PULLING)
    with blobs.writer(blob.digest.algorithm) as sink:
        await client.get_blob(repository, blob, sink, lambda done: tell(done, Activity.PULLING))
    tell(blob.size, Activity.DONE)


def is_here(blobs: BlobStore, blob: Descriptor) -> bool:
    """Whether the store has the blob, by digest and size."""
    return blobs.stat(blob.digest) == blob.size


def read_blob(blobs: BlobStore, descriptor: Descriptor) -> bytes:
    """
    The verified bytes of a small blob of the store.

    Raises:
        NotFound: it is not there.
        VerificationFailed: it was damaged.
    """
    with blobs.open(descriptor.digest) as stream:
        raw = stream.read(descriptor.size + 1)
    actual = Digest.of(raw, descriptor.digest.algorithm)
    if actual != descriptor.digest:
        raise VerificationFailed(f"blob {descriptor.digest} in the store was damaged: it is {actual}")
    return raw


async def _from_places(
    transport: Transport,
    layer: Descriptor,
    blobs: BlobStore,
    places: Sequence[str],
    *,
    notes: Notes,
    on_progress: OnProgress,
) -> None:
    failures: list[ImageError | RegistryError] = []
    for place in places:
        registry, _, repository = place.partition("/")
        client = RegistryClient(transport, registry)
        try:
            await fetch_blob(client, repository, layer, blobs, on_progress)
        except (RegistryError, VerificationFailed) as problem:
            failures.append(problem)
            if getattr(problem, "status", None) == 404:
                notes.forget_source(layer.digest, place)
        else:
            notes.remember_source(layer.digest, place)
            return
    if len(failures) == 1:
        raise failures[0]
    missing = NotFound(
        f"layer {layer.digest} is not in the store, and "
        + ("no place that was tried delivered it" if places else "no registry is known to have it"),
        hint="; ".join(problem.message for problem in failures) or "pull the image again",
    )
    raise missing
