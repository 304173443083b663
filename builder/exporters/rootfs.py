"""
The filesystem of an image: ``type=tar`` (one archive of all layers merged) and ``type=local`` (a directory).

Both read the merged view of the layers; neither needs privileges, but a directory gets the owners of the
image only when the caller may set them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from oci_image.errors import ImageError, NotFound
from oci_image.image import Image, Layer
from oci_image.layer.entry import Kind
from oci_image.layer.tree import LayerTree
from oci_image.layer.write import LayerWriter
from oci_image.reference import Reference

from ..errors import ExportProblem
from ..events import EventSink
from ..host import Host, LayerSource
from .base import Exported
from .target import output_file


@dataclass(frozen=True, slots=True)
class TarExporter:
    """Writes the merged filesystem as one archive."""

    dest: str

    async def export(
        self, image: Image, names: tuple[Reference, ...], host: Host, sink: EventSink
    ) -> Exported:
        """Write the archive to `dest`."""
        del names, sink
        await host.layers.ensure(image.layers)
        await asyncio.to_thread(self._write, image.layers, host.layers)
        return Exported(detail=f"tar archive {self.dest}")

    def _write(self, layers: Sequence[Layer], source: LayerSource) -> None:
        with output_file(self.dest) as out:
            write_rootfs(out, layers, source)


@dataclass(frozen=True, slots=True)
class LocalExporter:
    """Writes the merged filesystem into a directory, over what is there."""

    dest: str

    async def export(
        self, image: Image, names: tuple[Reference, ...], host: Host, sink: EventSink
    ) -> Exported:
        """Write the files below `dest`."""
        del names, sink
        await host.layers.ensure(image.layers)
        await asyncio.to_thread(self._write, image.layers, host)
        return Exported(detail=f"directory {self.dest}")

    def _write(self, layers: Sequence[Layer], host: Host) -> None:
        from oci_image.layer.apply import apply_layer

        try:
            os.makedirs(self.dest, exist_ok=True)
            with _merged(layers, host.layers) as stream:
                # Files belong to the caller, as with docker: chown is refused without privilege.
                apply_layer(
                    stream,
                    self.dest,
                    whiteouts="merge",
                    user_namespace=host.user_namespace,
                    on_chown_refused=lambda *_: None,
                )
        except OSError as problem:
            raise ExportProblem(f"cannot write to {self.dest}: {problem.strerror}") from problem
        except ImageError as problem:
            raise ExportProblem(
                f"cannot write to {self.dest}: {problem.message}", hint=problem.hint
            ) from problem


@contextmanager
def _merged(layers: Sequence[Layer], source: LayerSource) -> Iterator[BinaryIO]:
    """The merged archive as a stream, written by a thread while it is read."""
    read_end, write_end = os.pipe()
    problems: list[BaseException] = []

    def feed() -> None:
        try:
            with os.fdopen(write_end, "wb") as out:
                write_rootfs(out, layers, source)
        except BrokenPipeError:
            pass  # the reader has a problem of its own and says so
        except BaseException as problem:  # noqa: BLE001 - raised again in the reading thread
            problems.append(problem)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        with os.fdopen(read_end, "rb") as stream:
            yield stream
    finally:
        thread.join()
    if problems:
        raise problems[0]


def write_rootfs(out: BinaryIO, layers: Sequence[Layer], source: LayerSource) -> None:
    """
    Write the merged view of layers, which are all in the store, as one archive.

    Raises:
        ImageError: a layer cannot be read.
    """
    tree = LayerTree(
        [source.index(layer) for layer in layers],
        lambda number, offset, size: source.read(layers[number], offset, size),
    )
    writer = LayerWriter(out.write, record=False)
    for entry in tree.walk(""):
        if entry.kind is Kind.FILE and entry.size:
            found = tree.where(entry.path)
            if found is None:
                raise NotFound(f"{entry.path} vanished from the image while it was read")
            number, _, offset = found
            writer.add(entry, _Payload(source, layers[number], offset, entry.size))  # type: ignore[arg-type]
        else:
            writer.add(entry, b"" if entry.kind is Kind.FILE else None)
    writer.finish()


class _Payload:
    """A file's bytes inside a layer, read in pieces."""

    def __init__(self, source: LayerSource, layer: Layer, offset: int, size: int) -> None:
        self._source, self._layer = source, layer
        self._offset, self._left = offset, size

    def read(self, size: int = -1) -> bytes:
        count = self._left if size < 0 else min(size, self._left)
        if not count:
            return b""
        data = self._source.read(self._layer, self._offset, count)
        self._offset += len(data)
        self._left -= len(data)
        return data
