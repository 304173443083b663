"""
Other layers with the same files: the layers of a build as one (``--squash``), and with earlier times.

Layers of base images stay as they are. What was made is remembered like the result of a step, so that an
equal build makes nothing again. Nothing is loaded, and nobody waits, where everything is remembered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from oci_image import jsonbytes
from oci_image.config import History
from oci_image.digest import Digest
from oci_image.image import Layer
from oci_image.layer.entry import Kind

from .caching.recall import Results
from .caching.records import CacheRecord, is_complete
from .events import EventSink, TaskDone, TaskStarted
from .graph import BuildGraph, Target
from .host import Host, LayerSource
from .loop import needs_loop
from .request import DEFAULT_EPOCH
from .snapshots import Snapshot

if TYPE_CHECKING:
    from oci_image.layer.write import LayerWriter

_VERSION = 1
"""Raise it when the same layers should become others than before."""


async def squashed(
    graph: BuildGraph, results: Results, host: Host, sink: EventSink
) -> tuple[BuildGraph, Results]:
    """
    The build with one layer in the place of all that it put on its base.

    The history keeps all entries, and gets one for the layer. A build of at most one layer stays as it is.

    Raises:
        ImageError: a layer cannot be read or written.
        BuildError: a layer of the base cannot be had.
    """
    targets: list[Target] = []
    snapshots: list[Snapshot] = []
    for target, snapshot in zip(graph.targets, results.snapshots, strict=True):
        count = target.base_layers
        own = snapshot.layers[count:]
        if len(own) > 1:
            layer = await _joined(snapshot.layers[:count], own, host, sink)
            snapshots.append(Snapshot((*snapshot.layers[:count], layer)))
            targets.append(_told(target, count, len(own)))
        else:
            snapshots.append(snapshot)
            targets.append(target)
    return replace(graph, targets=tuple(targets)), replace(results, snapshots=tuple(snapshots))


def _told(target: Target, base: int, count: int) -> Target:
    """The target with the history of an image of one layer."""
    history: list[History] = []
    for entry in target.config.history:
        own = base <= 0 and not entry.empty_layer
        base -= not entry.empty_layer
        history.append(replace(entry, empty_layer=True) if own else entry)
    created = target.config.created
    history.append(History(created=created, created_by="", comment=f"merge of {count} layers"))
    return replace(target, config=replace(target.config, history=tuple(history)))


async def _joined(base: tuple[Layer, ...], own: tuple[Layer, ...], host: Host, sink: EventSink) -> Layer:
    preimage = _preimage("squash", [[str(layer.diff_id) for layer in layers] for layers in (base, own)])
    known = _known(host, preimage)
    if known is not None:
        return known
    await needs_loop()
    from oci_image.layer.merge import hides_anything, merged
    from oci_image.layer.tree import LayerTree

    await host.layers.ensure(own)
    indexes = [host.layers.index(layer) for layer in own]
    below = None
    if base and hides_anything(indexes):
        await host.layers.ensure(base)
        below = LayerTree([host.layers.index(layer) for layer in base])

    def fill(writer: LayerWriter) -> None:
        for placed in merged(indexes, below, mtime=DEFAULT_EPOCH):
            entry = placed.entry
            if entry.kind is not Kind.FILE:
                writer.add(entry)
            elif placed.layer < 0 or not entry.size:
                writer.add(entry, b"")
            else:
                writer.add(entry, Content(host.layers, own[placed.layer], placed.offset, entry.size))  # type: ignore[arg-type]

    return await _made(f"joining {len(own)} layers", preimage, fill, host, sink)


async def clamped(layer: Layer, epoch: int, host: Host, sink: EventSink) -> Layer:
    """
    The layer with no time later than the epoch; the same layer if it has none.

    Raises:
        ImageError: it cannot be read or written.
        BuildError: it cannot be had.
    """
    preimage = _preimage("clamp", [str(layer.diff_id), epoch])
    known = _known(host, preimage)
    if known is not None:
        return known
    await needs_loop()
    from oci_image.layer.read import LayerReader

    await host.layers.ensure((layer,))
    if all(entry.mtime <= epoch for entry in host.layers.index(layer)):
        return layer

    def fill(writer: LayerWriter) -> None:
        tar = host.layers.open_tar(layer)
        try:
            reader = LayerReader(tar)
            for entry, payload in reader:
                early = entry._replace(mtime=min(entry.mtime, epoch))
                content: BinaryIO | None = payload if entry.kind is Kind.FILE else None  # type: ignore[assignment]
                writer.add(early, content)
            reader.finish()
        finally:
            tar.close()

    return await _made("rewriting times", preimage, fill, host, sink)


def _preimage(what: str, parts: list[object]) -> bytes:
    return jsonbytes.encode_sorted([_VERSION, what, parts])


def _known(host: Host, preimage: bytes) -> Layer | None:
    record = host.cache.lookup(Digest.of(preimage))
    if record is None or not is_complete(record, host.blobs, 0):
        return None
    return record.layers[0]


async def _made(
    task: str, preimage: bytes, fill: Callable[[LayerWriter], None], host: Host, sink: EventSink
) -> Layer:
    from .perform.base import in_thread
    from .perform.layers import write_layer

    sink(TaskStarted(task, host.clock()))
    began = time.monotonic()
    layer = await in_thread(write_layer, host.blobs, host.layers, fill)
    key = Digest.of(preimage)
    record = CacheRecord.of(
        Snapshot((layer,)), key, size=layer.descriptor.size, seconds=time.monotonic() - began
    )
    host.cache.store([(key, preimage)], record)
    sink(TaskDone(task, host.clock()))
    return layer


class Content:
    """A file's bytes inside a layer, read in pieces."""

    def __init__(self, source: LayerSource, layer: Layer, offset: int, size: int) -> None:
        self._source, self._layer = source, layer
        self._offset, self._left = offset, size

    def read(self, size: int = -1) -> bytes:
        """The next bytes, b"" at the end."""
        count = self._left if size < 0 else min(size, self._left)
        if not count:
            return b""
        data = self._source.read(self._layer, self._offset, count)
        self._offset += len(data)
        self._left -= len(data)
        return data
