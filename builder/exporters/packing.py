"""
Images in the form in which they leave the store: layers compressed, manifests and the index that name them.

A layer that rests compressed leaves as it is. One that rests uncompressed is compressed into a scratch file
first, because the header of an archive's member states its size.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Hasher
from oci_image.documents import Document, Index, Manifest, author_index, author_manifest
from oci_image.image import Image
from oci_image.layer.compression import compress
from oci_image.layer.encoders import Encoder
from oci_image.store.base import BlobStore
from oci_image.store.problems import store_problem
from oci_image.verify import VerifyingReader

from ..request import ImageSet

Opener = Callable[[], BinaryIO]

_PLAIN_LAYERS = (mediatypes.OCI_LAYER, mediatypes.DOCKER_LAYER)


class PackedImage:
    """
    An image whose layers have an encoder's form.

    `blobs` lists every blob of the image with a way to open it; the files behind compressed layers live in
    `scratch`, which the caller removes.
    """

    def __init__(self, image: Image, store: BlobStore, encoder: Encoder, scratch: str) -> None:
        self._store = store
        self._encoder = encoder
        self._scratch = scratch
        self.blobs: list[tuple[Descriptor, Opener]] = []
        # The layers of the manifest, not of the image: attestations have no diff_ids.
        layers = tuple(self._layer(layer) for layer in image.manifest.value.layers)
        config = image.config
        self.blobs.append((config.descriptor, lambda: _verified(store, config.descriptor)))
        self.manifest = _manifest(image, layers)
        self.config = config

    def _layer(self, resting: Descriptor) -> Descriptor:
        if self._encoder.kind == "none" or resting.media_type not in _PLAIN_LAYERS:
            self.blobs.append((resting, lambda: _verified(self._store, resting)))
            return resting
        path, packed = self._compress(resting)
        self.blobs.append((packed, lambda: open(path, "rb")))  # noqa: SIM115 - the writer closes it
        return packed

    def _compress(self, resting: Descriptor) -> tuple[str, Descriptor]:
        hasher = Hasher()
        descriptor, path = tempfile.mkstemp(dir=self._scratch)
        with _verified(self._store, resting) as stream:
            try:
                with os.fdopen(descriptor, "wb") as out:
                    for chunk in compress(stream, self._encoder, threads=os.cpu_count() or 1):
                        hasher.update(chunk)
                        out.write(chunk)
            except OSError as problem:
                raise store_problem(problem, self._scratch, "compress a layer") from problem
        packed = Descriptor(
            media_type=self._encoder.media_type(docker=resting.media_type == mediatypes.DOCKER_LAYER),
            digest=hasher.digest(),
            size=hasher.size,
            annotations=resting.annotations,
        )
        return path, packed


class PackedSet:
    """
    The images of a set in an encoder's form, and what names them.

    `root` is the index, or the manifest of the only image; `documents` are all manifests and the index.
    """

    def __init__(self, made: ImageSet, store: BlobStore, encoder: Encoder, scratch: str) -> None:
        self.images = [PackedImage(image, store, encoder, scratch) for image in made.images]
        self.platforms = made.platforms
        self.documents: list[Document[Any]] = [one.manifest for one in self.images]
        root: Document[Any] = self.images[0].manifest
        if made.index is not None:
            root = _index(made.index, made.images, self.images)
            self.documents.append(root)
        self.root = replace(root.descriptor, annotations=made.annotations)
        if made.index is None:
            self.root = replace(self.root, platform=made.platforms[0])


def _verified(store: BlobStore, blob: Descriptor) -> BinaryIO:
    """A blob whose last bytes come only if all of them are those that its digest promises."""
    return io.BufferedReader(VerifyingReader(store.open(blob.digest), blob))


def _manifest(image: Image, layers: tuple[Descriptor, ...]) -> Document[Manifest]:
    if layers == image.manifest.value.layers:
        return image.manifest
    return author_manifest(replace(image.manifest.value, layers=layers))


def _index(
    document: Document[Index], images: tuple[Image, ...], packed: list[PackedImage]
) -> Document[Index]:
    """The index over the packed images: the same bytes when they are the same."""
    forms = {
        image.manifest.digest: one.manifest.descriptor for image, one in zip(images, packed, strict=True)
    }
    entries = tuple(
        replace(entry, digest=forms[entry.digest].digest, size=forms[entry.digest].size)
        for entry in document.value.manifests
    )
    if entries == document.value.manifests:
        return document
    return author_index(replace(document.value, manifests=entries))
