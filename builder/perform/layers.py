"""Writing a layer into the store: the archive in one pass, and beside it the list of its entries."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import closing
from types import TracebackType
from typing import Self

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.image import Layer
from oci_image.layer.write import LayerWriter
from oci_image.store.base import BlobStore

from ..earlier import Earlier
from ..host import LayerSource
from .base import checkpoint

_WORTH_A_THREAD = 4 << 20
_MOST_WAITING = 2
"""Blocks of about one MiB that may wait to be written."""


def write_copied(
    blobs: BlobStore, layers: LayerSource, kind: str, fill: Callable[[LayerWriter, Earlier], object]
) -> Layer:
    """
    Like `write_layer`, with what an earlier layer of the same kind has already (blocking).

    Raises:
        StoreProblem: it cannot be written; nothing is left.
        Stopped: nobody waits any more; nothing is left.
    """
    with closing(layers.earlier(kind)) as earlier:
        layer = write_layer(blobs, layers, lambda writer: fill(writer, earlier))
        layers.keep_runs(layer.diff_id, earlier)
    return layer


def write_layer(blobs: BlobStore, layers: LayerSource, fill: Callable[[LayerWriter], object]) -> Layer:
    """
    Store what `fill` writes as an uncompressed layer, and remember its index (blocking).

    Raises:
        StoreProblem: it cannot be written; nothing is left.
        Stopped: nobody waits any more; nothing is left.
    """
    with blobs.writer() as blob:
        with _Behind(blob.write) as behind:

            def write(data: bytes) -> None:
                checkpoint()
                behind.write(data)

            writer = LayerWriter(write, spool=layers.spool())
            fill(writer)
            size = writer.finish()
            behind.finish()
        index = writer.index_parts()
        diff_id = blob.commit()
    layers.remember(diff_id, index)
    return Layer(diff_id, Descriptor(media_type=mediatypes.OCI_LAYER, digest=diff_id, size=size))


class _Behind:
    """
    Digests and writes in a thread of its own, once there is much to write, while more is read.

    Both let go of the interpreter lock. A failure comes out of the next call; leaving the block before
    `finish` drops what was not written yet.
    """

    def __init__(self, sink: Callable[[bytes], object]) -> None:
        self._sink = sink
        self._written = 0
        self._thread: threading.Thread | None = None
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_MOST_WAITING)
        self._problem: BaseException | None = None
        self._dropping = False

    def write(self, data: bytes) -> None:
        """Take the next bytes, which nobody changes any more."""
        self._check()
        self._written += len(data)
        if self._thread is None:
            if self._written < _WORTH_A_THREAD:
                self._sink(data)
                return
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self._waiting.put(data)

    def finish(self) -> None:
        """Wait until everything is written."""
        self._end()
        self._check()

    def _work(self) -> None:
        while (data := self._waiting.get()) is not None:
            if self._problem is None and not self._dropping:
                try:
                    self._sink(data)
                except BaseException as problem:  # noqa: BLE001 - raised again by the thread that writes
                    self._problem = problem

    def _check(self) -> None:
        if self._problem is not None:
            raise self._problem

    def _end(self) -> None:
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._dropping = kind is not None
        self._end()
