"""
Image archives come in: ``pybuild load``, as ``docker load``.

Reads OCI layouts in a tar (``docker save`` since 25, skopeo, buildah, BuildKit) and Docker's older archives
with one folder per layer, compressed in any way that ADD knows. Every blob is verified before it is used:
against its name, or against the configuration's diff_ids.
"""

from __future__ import annotations

import os
import posixpath
import tempfile
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO

from oci_image import jsonbytes, mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest, Hasher
from oci_image.documents import (
    Document,
    Index,
    Manifest,
    author_manifest,
    describe,
    read_config,
    read_manifest,
)
from oci_image.errors import InvalidDigest, InvalidDocument, InvalidReference, VerificationFailed
from oci_image.image import Image
from oci_image.layer.compression import open_decompressed
from oci_image.layer.entry import Kind
from oci_image.layer.read import LayerReader
from oci_image.layer.source import Payload
from oci_image.reference import Reference
from oci_image.store.base import BlobStore
from oci_image.store.names import CONTAINERD_NAME, REF_NAME
from oci_image.store.problems import store_problem

from ..scratch import Scratch

_CHUNK = 1 << 20
_LINKS = 40


@dataclass(frozen=True, slots=True)
class Loaded:
    """One image or index that an archive held, with the names it goes by."""

    descriptor: Descriptor
    names: tuple[Reference, ...]


def load_archive(stream: BinaryIO, blobs: BlobStore, *, scratch: str) -> tuple[Loaded, ...]:
    """
    Store everything that the archive holds; tagging is the caller's.

    Args:
        stream: the archive.
        blobs: where the content goes.
        scratch: the state directory, for what must wait until the whole archive was seen.

    Raises:
        InvalidDocument: it is no image archive.
        VerificationFailed: a blob is not what its name or the configuration says.
        UnsafeLayer: the archive is broken.
    """
    with closing(Scratch(scratch)) as temporary:
        members = _Members(temporary.new_directory("load"), blobs)
        for entry, payload in LayerReader(open_decompressed(stream)):
            if entry.kind is Kind.FILE:
                members.take(entry.path, payload)
            elif entry.kind in (Kind.SYMLINK, Kind.HARDLINK):
                members.link(entry.path, entry.link, hard=entry.kind is Kind.HARDLINK)
        if members.has("manifest.json"):
            return _from_docker(members, blobs)
        if members.has("index.json"):
            return _from_layout(members, blobs)
    raise InvalidDocument(
        "the archive has neither index.json nor manifest.json",
        hint="for the archive of a root filesystem use pybuild import",
    )


class _Members:
    """What the archive held: blobs went into the store, everything else waits in files."""

    def __init__(self, folder: str, blobs: BlobStore) -> None:
        self._folder = folder
        self._blobs = blobs
        self._files: dict[str, str] = {}
        self._links: dict[str, str] = {}

    def take(self, path: str, payload: Payload) -> None:
        """Store a member."""
        digest = _named_digest(path)
        if digest is not None:
            with self._blobs.writer(digest.algorithm) as writer:
                while chunk := payload.read(_CHUNK):
                    writer.write(chunk)
                writer.commit(digest)
            return
        try:
            descriptor, name = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(descriptor, "wb") as out:
                while chunk := payload.read(_CHUNK):
                    out.write(chunk)
        except OSError as problem:
            raise store_problem(problem, self._folder, f"keep {path}") from problem
        self._files[path] = name

    def link(self, path: str, target: str, *, hard: bool) -> None:
        """Remember that a member is another one."""
        self._links[path] = target if hard else posixpath.join(posixpath.dirname(path), target)

    def has(self, path: str) -> bool:
        """Whether the archive held the member."""
        return self._follow(path) in self._files

    def open(self, path: str) -> BinaryIO:
        """
        A member's content, wherever it is.

        Raises:
            InvalidDocument: the archive does not hold it.
        """
        path = self._follow(path)
        if path in self._files:
            return open(self._files[path], "rb")
        digest = _named_digest(path)
        if digest is not None and self._blobs.stat(digest) is not None:
            return self._blobs.open(digest)
        raise InvalidDocument(f"the archive does not hold {path}, which it names")

    def read(self, path: str) -> bytes:
        """A document, bounded."""
        with self.open(path) as stream:
            return stream.read(jsonbytes.DOCUMENT_LIMIT + 1)

    def _follow(self, path: str) -> str:
        path = posixpath.normpath(path)
        for _ in range(_LINKS):
            if path not in self._links:
                break
            path = posixpath.normpath(self._links[path])
        return path


def _named_digest(path: str) -> Digest | None:
    parts = path.split("/")
    if len(parts) != 3 or parts[0] != "blobs":
        return None
    try:
        return Digest.parse(f"{parts[1]}:{parts[2]}")
    except InvalidDigest:
        return None


def _from_layout(members: _Members, blobs: BlobStore) -> tuple[Loaded, ...]:
    raw = members.read("index.json")
    index = read_manifest(raw, mediatypes.OCI_INDEX, "index.json").value
    if not isinstance(index, Index):
        raise InvalidDocument("index.json is not an image index")
    loaded: dict[Digest, list[Reference]] = {}
    descriptors: dict[Digest, Descriptor] = {}
    for entry in index.manifests:
        _check_present(entry, blobs)
        descriptors.setdefault(entry.digest, entry)
        loaded.setdefault(entry.digest, []).extend(_names(entry))
    return tuple(Loaded(descriptors[digest], tuple(names)) for digest, names in loaded.items())


def _check_present(descriptor: Descriptor, blobs: BlobStore) -> None:
    size = blobs.stat(descriptor.digest)
    if size is None:
        raise InvalidDocument(f"the archive does not hold blob {descriptor.digest}, which it names")
    if size != descriptor.size:
        raise VerificationFailed(f"blob {descriptor.digest} has {size} bytes instead of {descriptor.size}")
    if descriptor.media_type not in mediatypes.ALL_MANIFESTS:
        return
    with blobs.open(descriptor.digest) as stream:
        raw = stream.read(jsonbytes.DOCUMENT_LIMIT + 1)
    value = read_manifest(raw, descriptor.media_type, f"manifest {descriptor.digest}").value
    if isinstance(value, Manifest):
        for part in (value.config, *value.layers):
            if not part.urls:
                _check_present(part, blobs)
        return
    # An index may be sparse: docker save keeps only the platform that was there.
    for child in value.manifests:
        if blobs.stat(child.digest) is not None:
            _check_present(child, blobs)


def _names(entry: Descriptor) -> list[Reference]:
    name = entry.annotations.get(CONTAINERD_NAME) or entry.annotations.get(REF_NAME)
    if not name:
        return []
    try:
        return [Reference.parse(name)]
    except InvalidReference:
        return []


def _from_docker(members: _Members, blobs: BlobStore) -> tuple[Loaded, ...]:
    raw = members.read("manifest.json")
    entries = jsonbytes.decode_object(b'{"images":' + raw + b"}", "manifest.json").get("images")
    if not isinstance(entries, list):
        raise InvalidDocument("manifest.json is not a list of images")
    loaded = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise InvalidDocument("manifest.json is not a list of images")
        image = _docker_image(entry, members, blobs)
        names = tuple(Reference.parse(str(name)) for name in entry.get("RepoTags") or ())
        loaded.append(Loaded(image.manifest.descriptor, names))
    return tuple(loaded)


def _docker_image(entry: dict[str, Any], members: _Members, blobs: BlobStore) -> Image:
    raw = members.read(str(entry.get("Config")))
    config = read_config(raw, describe(raw, mediatypes.DOCKER_CONFIG), str(entry.get("Config")))
    paths = [str(path) for path in entry.get("Layers") or ()]
    if len(paths) != len(config.value.diff_ids):
        raise InvalidDocument(
            f"manifest.json: {len(paths)} layers, but the configuration has {len(config.value.diff_ids)}"
        )
    layers = tuple(
        _docker_layer(path, diff_id, members, blobs)
        for path, diff_id in zip(paths, config.value.diff_ids, strict=True)
    )
    _store(raw, blobs)
    manifest: Document[Manifest] = author_manifest(
        Manifest(config=config.descriptor, layers=layers, media_type=mediatypes.DOCKER_MANIFEST)
    )
    _store(manifest.raw, blobs)
    return Image(manifest, config)


def _docker_layer(path: str, diff_id: Digest, members: _Members, blobs: BlobStore) -> Descriptor:
    """Check a layer against its diff_id; it rests uncompressed, whatever it came as."""
    hasher = Hasher(diff_id.algorithm)
    with members.open(path) as stream, blobs.writer() as writer:
        plain = open_decompressed(stream)
        while chunk := plain.read(_CHUNK):
            hasher.update(chunk)
            writer.write(chunk)
        if hasher.digest() != diff_id:
            raise VerificationFailed(
                f"layer {path} is {hasher.digest()}, but the configuration says {diff_id}"
            )
        size = writer.size
        digest = writer.commit()
    return Descriptor(media_type=mediatypes.DOCKER_LAYER, digest=digest, size=size)


def _store(raw: bytes, blobs: BlobStore) -> None:
    with blobs.writer() as writer:
        writer.write(raw)
        writer.commit()
