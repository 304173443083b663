"""
Image archives and layouts: ``type=oci`` (an OCI image layout) and ``type=docker`` (the same, with the
manifest.json that ``docker load`` reads), in a tar or as a directory.

Members are sorted and carry fixed metadata, so equal images give equal archives. A directory keeps the images
that are in it already. Governing sources: OCI image-spec image-layout.md; Docker image specification v1.2
(combined image and filesystem changeset format).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

from oci_image import jsonbytes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Index, author_index
from oci_image.layer.encoders import parse_encoder
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.write import LayerWriter
from oci_image.reference import Reference
from oci_image.store.base import BlobStore
from oci_image.store.names import naming

from ..errors import ExportProblem
from ..events import EventSink
from ..host import Host
from ..request import DEFAULT_EPOCH, ImageSet
from ..scratch import Scratch
from .base import Exported
from .directory import write_directory
from .packing import Opener, PackedImage, PackedSet
from .target import output_file

NamedSet = tuple[ImageSet, tuple[Reference, ...]]
Members = dict[str, tuple[int, Opener | bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveExporter:
    """
    Writes a layout; `docker` adds manifest.json, `compression` is that of layers that we made.

    Without `as_archive` it becomes a directory.
    """

    dest: str
    docker: bool
    compression: str
    as_archive: bool = True

    async def export(
        self, made: ImageSet, names: tuple[Reference, ...], host: Host, sink: EventSink
    ) -> Exported:
        """Write the layout to `dest`."""
        del sink
        if self.docker and made.index is not None:
            raise ExportProblem(
                "docker archives hold no image index", hint="use type=oci, or build for one platform"
            )
        for image in made.images:
            await host.layers.ensure(image.layers)
        digests = await asyncio.to_thread(self._write, [(made, names)], host.blobs, host.state)
        kind = "docker" if self.docker else "oci"
        return Exported(
            detail=f"{kind} {'archive' if self.as_archive else 'layout'} {self.dest}",
            digests={str(name): digests[0] for name in names},
        )

    def _write(self, sets: Sequence[NamedSet], blobs: BlobStore, state: str) -> list[Digest]:
        if not self.as_archive:
            with _packed(sets, blobs, self.compression, state) as packed:
                write_directory(self.dest, members_of(packed, docker=self.docker))
                return [one.root.digest for one, _ in packed]
        with output_file(self.dest, parents=True) as out:
            return write_archive(
                out, sets, blobs, docker=self.docker, compression=self.compression, scratch=state
            )


def write_archive(
    out: BinaryIO,
    sets: Sequence[NamedSet],
    blobs: BlobStore,
    *,
    docker: bool,
    compression: str,
    scratch: str,
) -> list[Digest]:
    """
    Write images whose layers are all in the store; returns the digests of their manifests or indexes.

    Raises:
        ExportProblem: the archive cannot be written.
    """
    with _packed(sets, blobs, compression, scratch) as packed:
        _write_members(out, members_of(packed, docker=docker))
        return [one.root.digest for one, _ in packed]


_PackedSets = Sequence[tuple[PackedSet, tuple[Reference, ...]]]


@contextmanager
def _packed(
    sets: Sequence[NamedSet], blobs: BlobStore, compression: str, scratch: str
) -> Iterator[_PackedSets]:
    """The sets in the encoder's form, as long as the block runs."""
    encoder = parse_encoder(compression)
    temporary = Scratch(scratch)
    try:
        folder = temporary.new_directory("export")
        yield [(PackedSet(made, blobs, encoder, folder), names) for made, names in sets]
    finally:
        temporary.close()


def members_of(packed: _PackedSets, *, docker: bool) -> Members:
    """The files of the layout by name."""
    members: Members = {}
    for one, _ in packed:
        for image in one.images:
            for descriptor, opener in image.blobs:
                members[_blob(descriptor.digest)] = (descriptor.size, opener)
        for document in one.documents:
            members[_blob(document.digest)] = (len(document.raw), document.raw)
    _add(members, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    _add(members, "index.json", _index(packed))
    if docker:
        named = [(image, names) for one, names in packed for image in one.images]
        _add(members, "manifest.json", _docker_manifest(named))
    return members


def _add(members: Members, name: str, raw: bytes) -> None:
    members[name] = (len(raw), raw)


def _blob(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _index(packed: _PackedSets) -> bytes:
    entries: list[Descriptor] = []
    for one, names in packed:
        named = [
            replace(one.root, annotations={**one.root.annotations, **naming(str(name))}) for name in names
        ]
        entries += named or [one.root]
    return author_index(Index(manifests=tuple(entries))).raw


def _docker_manifest(named: Sequence[tuple[PackedImage, tuple[Reference, ...]]]) -> bytes:
    return jsonbytes.encode(
        [
            {
                "Config": _blob(one.config.digest),
                "RepoTags": [name.familiar for name in names if name.tag] or None,
                "Layers": [_blob(layer.digest) for layer in one.manifest.value.layers],
            }
            for one, names in named
        ]
    )


def _write_members(out: BinaryIO, members: dict[str, tuple[int, Opener | bytes]]) -> None:
    writer = LayerWriter(out.write, record=False)
    folders: set[str] = set()
    for name in sorted(members):
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in folders:
                folders.add(folder)
                writer.add(Entry(folder, Kind.DIRECTORY, 0o755, mtime=DEFAULT_EPOCH))
        size, content = members[name]
        entry = Entry(name, Kind.FILE, 0o644, mtime=DEFAULT_EPOCH, size=size)
        if isinstance(content, bytes):
            writer.add(entry, content)
        else:
            with content() as stream:
                writer.add(entry, stream)
    writer.finish()
