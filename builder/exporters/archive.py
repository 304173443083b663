"""
Image archives: ``type=oci`` (an OCI image layout in a tar) and ``type=docker`` (the same, with the
manifest.json that ``docker load`` reads).

Members are sorted and carry fixed metadata, so equal images give equal archives. Governing sources: OCI
image-spec image-layout.md; Docker image specification v1.2 (combined image and filesystem changeset format).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from oci_image import jsonbytes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Index, author_index
from oci_image.image import Image
from oci_image.layer.compression import parse_encoder
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.write import LayerWriter
from oci_image.reference import Reference
from oci_image.store.base import BlobStore
from oci_image.store.names import naming

from ..errors import ExportProblem
from ..events import EventSink
from ..host import Host
from ..request import DEFAULT_EPOCH
from .base import Exported
from .packing import Opener, PackedImage
from .target import output_file

NamedImage = tuple[Image, tuple[Reference, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveExporter:
    """Writes an archive; `docker` adds manifest.json, `compression` is that of layers that we made."""

    dest: str
    docker: bool
    compression: str

    async def export(
        self, image: Image, names: tuple[Reference, ...], host: Host, sink: EventSink
    ) -> Exported:
        """Write the archive to `dest`."""
        del sink
        await host.layers.ensure(image.layers)
        digests = await asyncio.to_thread(self._write, [(image, names)], host.blobs, host.state)
        return Exported(
            detail=f"{'docker' if self.docker else 'oci'} archive {self.dest}",
            digests={str(name): digests[0] for name in names},
        )

    def _write(self, images: Sequence[NamedImage], blobs: BlobStore, state: str) -> list[Digest]:
        with output_file(self.dest) as out:
            return write_archive(
                out, images, blobs, docker=self.docker, compression=self.compression, scratch=state
            )


def write_archive(
    out: BinaryIO,
    images: Sequence[NamedImage],
    blobs: BlobStore,
    *,
    docker: bool,
    compression: str,
    scratch: str,
) -> list[Digest]:
    """
    Write images whose layers are all in the store; returns the digests of their manifests.

    Raises:
        ExportProblem: the archive cannot be written.
    """
    encoder = parse_encoder(compression)
    temporary = os.path.join(scratch, "tmp")
    os.makedirs(temporary, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=temporary, prefix="export.") as folder:
        packed = [PackedImage(image, blobs, encoder, folder) for image, _ in images]
        members: dict[str, tuple[int, Opener | bytes]] = {}
        for one in packed:
            for descriptor, opener in one.blobs:
                members[_blob(descriptor.digest)] = (descriptor.size, opener)
            members[_blob(one.manifest.digest)] = (len(one.manifest.raw), one.manifest.raw)
        named = list(zip(packed, (names for _, names in images), strict=True))
        _add(members, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(members, "index.json", _index(named))
        if docker:
            _add(members, "manifest.json", _docker_manifest(named))
        _write_members(out, members)
    return [one.manifest.digest for one in packed]


def _add(members: dict[str, tuple[int, Opener | bytes]], name: str, raw: bytes) -> None:
    members[name] = (len(raw), raw)


def _blob(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _index(named: Sequence[tuple[PackedImage, tuple[Reference, ...]]]) -> bytes:
    entries: list[Descriptor] = []
    for one, names in named:
        plain = replace(one.manifest.descriptor, platform=one.config.value.platform)
        entries += [replace(plain, annotations=naming(str(name))) for name in names] or [plain]
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
    try:
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
    except OSError as problem:
        raise ExportProblem(f"cannot write the archive: {problem.strerror}") from problem
