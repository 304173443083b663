"""
The directory of a repository as an OCI image layout, for tools that read directories.

Invariants: everything here can be made again from tags and manifests, so nothing is flushed; readers see a
whole ``index.json``, which may be some seconds old; names of images are tags.
Governing source: OCI image-spec, image-layout.md.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress

from oci_image import jsonbytes, mediatypes
from oci_image.digest import Digest

from .durable import make_directories, read_file, write_all
from .index import Index
from .layout import Layout, flatten
from .records import decode_record

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_REF_NAME = "org.opencontainers.image.ref.name"
_OWN = ("oci-layout", "index.json")


def write_image_layout(layout: Layout, index: Index, repository: str) -> None:
    """Make ``index.json`` current, and the bytes of every manifest readable under ``blobs``."""
    directory = f"{layout.repositories}/{flatten(repository)}"
    if not os.path.isdir(directory):
        return
    rows = index.rows(
        "SELECT digest, media_type, size, artifact_type FROM manifests WHERE repository = ?",
        repository,
    )
    manifests = {row[0]: row for row in rows}
    for text in manifests:
        _expose(layout, repository, Digest.parse(text))
    tags = index.rows(
        "SELECT name, digest FROM tags WHERE repository = ? ORDER BY name",
        repository,
    )
    children = {
        row[0]
        for row in index.rows(
            "SELECT DISTINCT child FROM links WHERE repository = ?",
            repository,
        )
    }
    tagged = {digest for _name, digest in tags}
    loose = sorted(digest for digest in manifests if digest not in tagged and digest not in children)
    entries = [_entry(manifests[digest], name) for name, digest in tags if digest in manifests]
    entries += [_entry(manifests[digest], "") for digest in loose]
    document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": entries}
    if not os.path.exists(f"{directory}/oci-layout"):
        _replace(layout, directory, "oci-layout", _LAYOUT)
    _replace(layout, directory, "index.json", jsonbytes.encode(document))


def is_hollow(directory: str) -> bool:
    """Whether the directory of a repository, if it is there, has nothing but what is made here."""
    for path, directories, files in os.walk(directory):
        if set(files) - set(_OWN if path == directory else ()):
            return False
        if any(os.path.islink(f"{path}/{name}") for name in directories):
            return False
    return True


def _entry(row: tuple[str, str, int, str], tag: str) -> dict[str, object]:
    entry: dict[str, object] = {"mediaType": row[1], "digest": row[0], "size": row[2]}
    if row[3]:
        entry["artifactType"] = row[3]
    if tag:
        entry["annotations"] = {_REF_NAME: tag}
    return entry


def _expose(layout: Layout, repository: str, digest: Digest) -> None:
    target = layout.member(repository, "blobs", digest)
    if os.path.lexists(target):
        return
    data = read_file(layout.member(repository, "manifests", digest))
    manifest = None if data is None else decode_record(data, digest)
    if manifest is not None:
        relative = layout.member_directory(repository, "blobs", digest.algorithm)
        _replace(layout, make_directories(layout.root, relative), digest.hex, manifest.raw)


def _replace(layout: Layout, directory: str, name: str, data: bytes) -> None:
    temporary = f"{layout.temporary}/{uuid.uuid4()}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)
        os.rename(temporary, f"{directory}/{name}")
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
