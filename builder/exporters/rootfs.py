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

from oci_image.errors import ImageError
from oci_image.image import Layer
from oci_image.layer.entry import Kind
from oci_image.layer.merge import Placed, with_hardlinks
from oci_image.layer.remove import remove_tree
from oci_image.layer.tree import LayerTree
from oci_image.layer.write import LayerWriter
from oci_image.platform import Platform
from oci_image.reference import Reference

from ..errors import ExportProblem
from ..events import EventSink
from ..host import Host, LayerSource
from ..relayering import Content
from ..request import ImageSet
from .base import Exported
from .target import output_file


@dataclass(frozen=True, slots=True, kw_only=True)
class TarExporter:
    """
    Writes the merged filesystem as one archive.

    With `split` each platform has a folder of its own; None splits where there is an index. `epoch` is the
    time of everything, if it was asked for.
    """

    dest: str
    split: bool | None = None
    epoch: int | None = None

    async def export(
        self, made: ImageSet, names: tuple[Reference, ...], host: Host, sink: EventSink
    ) -> Exported:
        """Write the archive to `dest`."""
        del names, sink
        roots = await _roots(made, host, split=self.split)
        await asyncio.to_thread(self._write, roots, host.layers)
        return Exported(detail=f"tar archive {self.dest}")

    def _write(self, roots: Sequence[_Root], source: LayerSource) -> None:
        _check_overlaps(roots, source)
        with output_file(self.dest, parents=True) as out:
            write_rootfs(out, roots, source, epoch=self.epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalExporter:
    """
    Writes the merged filesystem into a directory, over what is there; the fields are those of a tar.

    With `deletes` nothing else is in the directory afterwards.
    """

    dest: str
    split: bool | None = None
    epoch: int | None = None
    deletes: bool = False

    async def export(
        self, made: ImageSet, names: tuple[Reference, ...], host: Host, sink: EventSink
    ) -> Exported:
        """Write the files below `dest`."""
        del names, sink
        roots = await _roots(made, host, split=self.split)
        await asyncio.to_thread(self._write, roots, host)
        return Exported(detail=f"directory {self.dest}")

    def _write(self, roots: Sequence[_Root], host: Host) -> None:
        from oci_image.layer.apply import apply_layer

        _check_overlaps(roots, host.layers)
        try:
            os.makedirs(self.dest, exist_ok=True)
            with _merged(roots, host.layers, self.epoch) as stream:
                # Files belong to the caller, as with docker: chown is refused without privilege.
                apply_layer(
                    stream,
                    self.dest,
                    whiteouts="merge",
                    user_namespace=host.user_namespace,
                    on_chown_refused=lambda *_: None,
                )
            if self.deletes:
                _remove_stale(self.dest, _paths(roots, host.layers))
        except OSError as problem:
            raise ExportProblem(f"cannot write to {self.dest}: {problem.strerror}") from problem
        except ImageError as problem:
            raise ExportProblem(
                f"cannot write to {self.dest}: {problem.message}", hint=problem.hint
            ) from problem


@dataclass(frozen=True, slots=True)
class _Root:
    """The layers of one platform's filesystem, and the folder that it gets ("" for none)."""

    platform: Platform
    layers: tuple[Layer, ...]
    folder: str = ""


async def _roots(made: ImageSet, host: Host, *, split: bool | None) -> list[_Root]:
    """What is written where; all layers are in the store afterwards."""
    splits = (made.index is not None) if split is None else split
    roots = []
    for image, platform in zip(made.images, made.platforms, strict=True):
        await host.layers.ensure(image.layers)
        roots.append(_Root(platform, image.layers, str(platform).replace("/", "_") if splits else ""))
    return roots


def _check_overlaps(roots: Sequence[_Root], source: LayerSource) -> None:
    """
    Find files that would overwrite those of another platform.

    Raises:
        ExportProblem: there is one.
    """
    owners: dict[str, Platform] = {}
    for root in roots if len(roots) > 1 and not roots[0].folder else ():
        for entry in LayerTree([source.index(layer) for layer in root.layers]).walk(""):
            if entry.kind is Kind.DIRECTORY:
                continue
            other = owners.setdefault(entry.path, root.platform)
            if other != root.platform:
                raise ExportProblem(
                    f"cannot overwrite /{entry.path} of {other} with that of {root.platform}",
                    hint="leave platform-split=false out: each platform gets a folder of its own then",
                )


def _paths(roots: Sequence[_Root], source: LayerSource) -> set[str]:
    """Every path of an export."""
    paths = {root.folder for root in roots}
    for root in roots:
        prefix = f"{root.folder}/" if root.folder else ""
        tree = LayerTree([source.index(layer) for layer in root.layers])
        paths.update(f"{prefix}{entry.path}" for entry in tree.walk(""))
    return paths


def _remove_stale(directory: str, kept: set[str]) -> None:
    """Remove what is below a directory and not among the paths, without following links."""
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(directory, folder)) as scan:
            entries = list(scan)
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_directory = entry.is_dir(follow_symlinks=False)
            if path in kept:
                folders += [path] if is_directory else []
            elif is_directory:
                remove_tree(entry.path)
            else:
                os.unlink(entry.path)


@contextmanager
def _merged(roots: Sequence[_Root], source: LayerSource, epoch: int | None) -> Iterator[BinaryIO]:
    """The merged archive as a stream, written by a thread while it is read."""
    read_end, write_end = os.pipe()
    problems: list[BaseException] = []

    def feed() -> None:
        try:
            with os.fdopen(write_end, "wb") as out:
                write_rootfs(out, roots, source, epoch=epoch)
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


def write_rootfs(
    out: BinaryIO, roots: Sequence[_Root], source: LayerSource, *, epoch: int | None = None
) -> None:
    """
    Write the merged views of layers, which are all in the store, as one archive.

    Raises:
        ImageError: a layer cannot be read.
    """
    writer = LayerWriter(out.write, record=False)
    for root in roots:
        tree = LayerTree([source.index(layer) for layer in root.layers])
        for placed in with_hardlinks(tree):
            _add(writer, root, placed, source, epoch)
    writer.finish()


def _add(writer: LayerWriter, root: _Root, placed: Placed, source: LayerSource, epoch: int | None) -> None:
    entry = placed.entry
    if epoch is not None:
        entry = entry._replace(mtime=epoch)
    if root.folder:
        path = f"{root.folder}/{entry.path}" if entry.path else root.folder
        link = f"{root.folder}/{entry.link}" if entry.kind is Kind.HARDLINK else entry.link
        entry = entry._replace(path=path, link=link)
    if entry.kind is not Kind.FILE:
        writer.add(entry)
    elif not entry.size:
        writer.add(entry, b"")
    else:
        content = Content(source, root.layers[placed.layer], placed.offset, entry.size)
        writer.add(entry, content)  # type: ignore[arg-type] # it is only read
