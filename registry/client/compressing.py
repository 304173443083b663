"""
Layers that rest uncompressed, as bodies of uploads: compressed in threads while they are sent.

Invariants: the same layer and encoder give the same bytes each time; the layer's digest is checked as it is
read, so that damage in the store does not leave this machine.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from oci_image.descriptor import Descriptor
from oci_image.digest import Hasher
from oci_image.errors import VerificationFailed
from oci_image.layer.encoders import Encoder
from oci_image.store.base import BlobStore

from .bodies import MadeBody

_PIECE = 256 * 1024


class CompressedLayer(MadeBody):
    """
    The compressed form of a layer of a store.

    Attributes:
        consumed: how many bytes of the layer were read so far.
    """

    def __init__(self, blobs: BlobStore, layer: Descriptor, encoder: Encoder) -> None:
        super().__init__(self._opened)
        self.consumed = 0
        self._blobs = blobs
        self._layer = layer
        self._encoder = encoder

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Iterator[bytes]]:
        from oci_image.layer.compression import compress

        with self._blobs.open(self._layer.digest) as stream:
            pieces = compress(self._checked(stream), self._encoder, threads=os.cpu_count() or 1)
            try:
                yield pieces
            finally:
                close = getattr(pieces, "close", None)
                if close is not None:
                    close()  # ends the threads of an encoder that was not read to its end

    def _checked(self, stream: BinaryIO) -> Iterator[bytes]:
        hasher = Hasher(self._layer.digest.algorithm)
        while piece := stream.read(_PIECE):
            hasher.update(piece)
            self.consumed = hasher.size
            yield piece
        if hasher.digest() != self._layer.digest:
            raise VerificationFailed(
                f"layer {self._layer.digest} in the store was damaged: it has the digest {hasher.digest()}"
            )
