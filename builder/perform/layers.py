"""Writing a layer into the store: the archive in one pass, and beside it the list of its entries."""

from __future__ import annotations

from collections.abc import Callable

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.image import Layer
from oci_image.layer.write import LayerWriter
from oci_image.store.base import BlobStore

from ..host import LayerSource
from .base import checkpoint


def write_layer(blobs: BlobStore, layers: LayerSource, fill: Callable[[LayerWriter], object]) -> Layer:
    """
    Store what `fill` writes as an uncompressed layer, and remember its index (blocking).

    Raises:
        StoreProblem: it cannot be written; nothing is left.
        Stopped: nobody waits any more; nothing is left.
    """
    with blobs.writer() as blob:

        def write(data: bytes) -> None:
            checkpoint()
            blob.write(data)

        writer = LayerWriter(write)
        fill(writer)
        size = writer.finish()
        index = writer.index()
        diff_id = blob.commit()
    layers.remember(diff_id, index)
    return Layer(diff_id, Descriptor(media_type=mediatypes.OCI_LAYER, digest=diff_id, size=size))
