"""
Layers in the form in which they leave the store.

A layer that rests compressed leaves as it is. One that rests uncompressed is compressed into a scratch file
first, because the header of an archive's member states its size.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Hasher
from oci_image.documents import Document, Manifest, author_manifest
from oci_image.image import Image, Layer
from oci_image.layer.compression import Encoder, compress
from oci_image.store.base import BlobStore
from oci_image.verify import VerifyingReader

Opener = Callable[[], BinaryIO]


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
        layers = tuple(self._layer(layer) for layer in image.layers)
        config = image.config
        self.blobs.append((config.descriptor, lambda: _verified(store, config.descriptor)))
        self.manifest = _manifest(image, layers)
        self.config = config

    def _layer(self, layer: Layer) -> Descriptor:
        resting = layer.descriptor
        if self._encoder.kind == "none" or mediatypes.layer_compression(resting.media_type) != "none":
            self.blobs.append((resting, lambda: _verified(self._store, resting)))
            return resting
        path, packed = self._compress(layer)
        self.blobs.append((packed, lambda: open(path, "rb")))  # noqa: SIM115 - the writer closes it
        return packed

    def _compress(self, layer: Layer) -> tuple[str, Descriptor]:
        hasher = Hasher()
        descriptor, path = tempfile.mkstemp(dir=self._scratch)
        with os.fdopen(descriptor, "wb") as out, _verified(self._store, layer.descriptor) as stream:
            for chunk in compress(stream, self._encoder, threads=os.cpu_count() or 1):
                hasher.update(chunk)
                out.write(chunk)
        packed = Descriptor(
            media_type=self._encoder.media_type(
                docker=layer.descriptor.media_type == mediatypes.DOCKER_LAYER
            ),
            digest=hasher.digest(),
            size=hasher.size,
            annotations=layer.descriptor.annotations,
        )
        return path, packed


def _verified(store: BlobStore, blob: Descriptor) -> BinaryIO:
    """A blob whose last bytes come only if all of them are those that its digest promises."""
    return io.BufferedReader(VerifyingReader(store.open(blob.digest), blob))


def _manifest(image: Image, layers: tuple[Descriptor, ...]) -> Document[Manifest]:
    if layers == image.manifest.value.layers:
        return image.manifest
    return author_manifest(replace(image.manifest.value, layers=layers))
