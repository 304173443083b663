"""
Manifests and indexes, and documents: raw bytes together with their parsed value and descriptor.

Invariant: a document that was read is never serialised again; its digest is always that of its raw bytes.
Governing sources: OCI image-spec manifest.md and image-index.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from . import jsonbytes, mediatypes
from .config import ImageConfig
from .descriptor import Descriptor
from .digest import Digest
from .errors import InvalidDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image: a configuration and layers, base first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = mediatypes.OCI_MANIFEST
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """The JSON object, members in the order of the specification."""
        value: dict[str, Any] = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        value["config"] = self.config.to_json()
        value["layers"] = [layer.to_json() for layer in self.layers]
        if self.subject is not None:
            value["subject"] = self.subject.to_json()
        if self.annotations:
            value["annotations"] = dict(sorted(self.annotations.items()))
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Several manifests under one digest, usually one for each platform."""

    manifests: tuple[Descriptor, ...]
    media_type: str = mediatypes.OCI_INDEX
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """The JSON object, members in the order of the specification."""
        value: dict[str, Any] = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        value["manifests"] = [manifest.to_json() for manifest in self.manifests]
        if self.subject is not None:
            value["subject"] = self.subject.to_json()
        if self.annotations:
            value["annotations"] = dict(sorted(self.annotations.items()))
        return value


ValueT = TypeVar("ValueT")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Generic[T_co]):
    """Raw bytes, what they say, and the descriptor that identifies them."""

    raw: bytes
    value: T_co
    descriptor: Descriptor

    @property
    def digest(self) -> Digest:
        """The digest of the raw bytes."""
        return self.descriptor.digest


def author_manifest(manifest: Manifest) -> Document[Manifest]:
    """Serialise a manifest of our own."""
    return _author(manifest, manifest.media_type, manifest.to_json())


def author_index(index: Index) -> Document[Index]:
    """Serialise an index of our own."""
    return _author(index, index.media_type, index.to_json())


def author_config(config: ImageConfig, media_type: str = mediatypes.OCI_CONFIG) -> Document[ImageConfig]:
    """Serialise a configuration of our own."""
    return _author(config, media_type, config.to_json())


def _author(value: ValueT, media_type: str, json_value: dict[str, Any]) -> Document[ValueT]:
    raw = jsonbytes.encode(json_value)
    return Document(raw=raw, value=value, descriptor=describe(raw, media_type))


def describe(raw: bytes, media_type: str, algorithm: str = "sha256") -> Descriptor:
    """The descriptor of bytes that are in hand."""
    return Descriptor(media_type=media_type, digest=Digest.of(raw, algorithm), size=len(raw))


def read_config(raw: bytes, descriptor: Descriptor, where: str) -> Document[ImageConfig]:
    """
    Parse a configuration that was read and verified.

    Raises:
        InvalidDocument: it is not an image configuration.
    """
    value = jsonbytes.decode_object(raw, where)
    return Document(raw=raw, value=ImageConfig.from_json(value, where), descriptor=descriptor)


def read_manifest(raw: bytes, media_type: str, where: str) -> Document[Manifest | Index]:
    """
    Parse a manifest or an index; the media type in the document wins over an absent or generic `media_type`.

    Raises:
        InvalidDocument: it is neither, or its parts are not usable.
    """
    value = jsonbytes.decode_object(raw, where)
    if "manifests" in value and ("layers" in value or "config" in value):
        # Two readers could take such a document for two different images (CVE-2021-41190).
        raise InvalidDocument(f"{where}: the document is both a manifest and an index")
    stated = str(value.get("mediaType") or "")
    kind = media_type if media_type in mediatypes.ALL_MANIFESTS else stated
    if not kind:
        kind = mediatypes.OCI_INDEX if "manifests" in value else mediatypes.OCI_MANIFEST
    if stated and stated != kind:
        raise InvalidDocument(f"{where}: served as {kind} but says that it is {stated}")
    if value.get("schemaVersion") != 2 or kind not in mediatypes.ALL_MANIFESTS:
        hint = "images of schema 1 must be pushed again by a current client"
        old = value.get("schemaVersion") == 1
        raise InvalidDocument(
            f"{where}: unsupported manifest type {kind or 'unknown'}", hint=hint if old else None
        )
    parsed = _index(value, kind, where) if mediatypes.is_index(kind) else _manifest(value, kind, where)
    return Document(raw=raw, value=parsed, descriptor=describe(raw, kind))


def _manifest(value: dict[str, Any], kind: str, where: str) -> Manifest:
    layers = _list(value, "layers")
    if not isinstance(layers, list):
        raise InvalidDocument(f"{where}: manifest has no list of layers")
    return Manifest(
        config=Descriptor.from_json(value.get("config"), f"{where}: config"),
        layers=tuple(Descriptor.from_json(layer, f"{where}: layer {i}") for i, layer in enumerate(layers)),
        media_type=kind,
        artifact_type=str(value.get("artifactType") or ""),
        subject=_subject(value, where),
        annotations=_annotations(value),
    )


def _index(value: dict[str, Any], kind: str, where: str) -> Index:
    manifests = _list(value, "manifests")
    if not isinstance(manifests, list):
        raise InvalidDocument(f"{where}: index has no list of manifests")
    return Index(
        manifests=tuple(Descriptor.from_json(m, f"{where}: manifest {i}") for i, m in enumerate(manifests)),
        media_type=kind,
        artifact_type=str(value.get("artifactType") or ""),
        subject=_subject(value, where),
        annotations=_annotations(value),
    )


def _list(value: dict[str, Any], member: str) -> object:
    """The member; null, as Go writes an empty list that was never set, is an empty list."""
    found = value.get(member)
    return [] if found is None and member in value else found


def _subject(value: dict[str, Any], where: str) -> Descriptor | None:
    subject = value.get("subject")
    return Descriptor.from_json(subject, f"{where}: subject") if subject is not None else None


def _annotations(value: dict[str, Any]) -> dict[str, str]:
    annotations = value.get("annotations")
    return {str(k): str(v) for k, v in annotations.items()} if isinstance(annotations, dict) else {}
