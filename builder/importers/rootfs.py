"""
A root filesystem's archive becomes an image of one layer: ``pybuild import``, as ``docker import``.

The layer is the archive's uncompressed bytes as they are, so importing the same archive gives the same image.
"""

from __future__ import annotations

import io
from typing import BinaryIO

from oci_image.config import History, ImageConfig, RunConfig
from oci_image.descriptor import Descriptor
from oci_image.documents import Manifest, author_config, author_manifest
from oci_image.image import Image, Layer
from oci_image.layer.compression import open_decompressed
from oci_image.layer.index import build_index
from oci_image.mediatypes import OCI_LAYER
from oci_image.platform import Platform
from oci_image.store.base import BlobStore

from ..lowering.state import rfc3339

_CHUNK = 1 << 20
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def import_rootfs(
    stream: BinaryIO,
    blobs: BlobStore,
    *,
    platform: Platform,
    changes: tuple[str, ...] = (),
    message: str = "",
    epoch: int,
) -> Image:
    """
    Store the archive as a layer and make an image of it.

    Args:
        stream: the archive, in any compression that ADD knows.
        blobs: where everything goes.
        platform: what the programs in it run on.
        changes: Dockerfile instructions for the configuration (CMD, ENV, …).
        message: comment of the history entry.
        epoch: creation time in Unix seconds.

    Raises:
        UnsafeLayer: it is no archive, or one that cannot be used as a layer.
        InvalidOption: a change that cannot be made.
    """
    layer = _store_layer(stream, blobs)
    created = rfc3339(epoch)
    config = ImageConfig(
        platform=platform,
        created=created,
        diff_ids=(layer.diff_id,),
        config=_changed(RunConfig(env=(_PATH,)), changes),
        history=(History(created=created, created_by="", comment=message or "Imported from -"),),
    )
    document = author_config(config)
    manifest = author_manifest(Manifest(config=document.descriptor, layers=(layer.descriptor,)))
    for raw in (document.raw, manifest.raw):
        with blobs.writer() as writer:
            writer.write(raw)
            writer.commit()
    return Image(manifest, document)


def _store_layer(stream: BinaryIO, blobs: BlobStore) -> Layer:
    with blobs.writer() as writer:
        tee = _Tee(open_decompressed(stream), writer.write)
        build_index(io.BufferedReader(tee, _CHUNK))
        # What follows the end of the archive belongs to the layer as well.
        while tee.read(_CHUNK):
            pass
        size = writer.size
        diff_id = writer.commit()
    return Layer(diff_id, Descriptor(media_type=OCI_LAYER, digest=diff_id, size=size))


class _Tee(io.RawIOBase):
    """Hands on what is read."""

    def __init__(self, stream: BinaryIO, write: object) -> None:
        self._stream = stream
        self._write = write

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override] # typeshed: any buffer
        data = self._stream.read(len(buffer))
        self._write(data)  # type: ignore[operator]
        buffer[: len(data)] = data
        return len(data)


def _changed(config: RunConfig, changes: tuple[str, ...]) -> RunConfig:
    if not changes:
        return config
    from .changes import apply_changes

    return apply_changes(config, changes)
