"""
What the web page shows of manifests, read from the storage.

Invariants: everything here came from clients, so nothing is trusted to have a form; sizes of what is read are
bounded; a document that cannot be read is shown without what it would have told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Index, Manifest, read_manifest
from oci_image.errors import ImageError

from .referrers import collect
from .store.base import RegistryStore, StoredManifest

_CONFIG_LIMIT = 1024 * 1024
_COSIGN = {"sig": "Signature", "att": "Attestation", "sbom": "SBOM"}
_ATTACHED = re.compile(r"sha(?:256|512)-[0-9a-f]{64,128}(?:\.(sig|att|sbom))?")
_BUILT_WITH = "vnd.docker.reference.type"
_MEASURED = 100  # manifests of an index whose sizes are looked up
_KINDS = (
    ("signature", "Signature"),
    ("cosign", "Signature"),
    ("sigstore.bundle", "Signature"),
    ("spdx", "SBOM (SPDX)"),
    ("cyclonedx", "SBOM (CycloneDX)"),
    ("syft", "SBOM"),
    ("sbom", "SBOM"),
    ("in-toto", "Attestation"),
    ("slsa", "Provenance"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLine:
    """A layer, and the command that made it if the configuration tells."""

    descriptor: Descriptor
    made_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrerLine:
    """Something that refers to a manifest: its kind in a word, and where it is."""

    kind: str
    type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TagLine:
    """A tag in a list."""

    name: str
    digest: Digest | None
    summary: str = ""
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildLine:
    """A manifest of an index: what it is for, and the size of what it refers to where that is known."""

    digest: Digest
    what: str
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestView:
    """A manifest with everything that is told about it."""

    stored: StoredManifest
    layers: tuple[LayerLine, ...] = ()
    children: tuple[ChildLine, ...] = ()
    referrers: tuple[ReferrerLine, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def layers_size(self) -> int:
        """The sum of the layers."""
        return sum(line.descriptor.size for line in self.layers)


def kind_of(artifact_type: str) -> str:
    """A word for the type of an artifact."""
    lowered = artifact_type.lower()
    return next((word for part, word in _KINDS if part in lowered), "Artifact")


def read_tags(store: RegistryStore, repository: str, names: list[str]) -> list[TagLine]:
    """Lines for tags."""
    return [_tag_line(store, repository, name) for name in names]


def _tag_line(store: RegistryStore, repository: str, name: str) -> TagLine:
    digest = store.tags.get(repository, name)
    stored = None if digest is None else store.manifests.get(repository, digest)
    if stored is None:
        return TagLine(name=name, digest=digest)
    value = _parse(stored)
    if isinstance(value, Index):
        platforms = [str(item.platform) for item in value.manifests if item.platform is not None]
        known = [platform for platform in platforms if not platform.startswith("unknown")]
        summary = "referrers" if _ATTACHED.fullmatch(name) else ", ".join(known) or "index"
        return TagLine(name=name, digest=digest, summary=summary)
    if value is None:
        return TagLine(name=name, digest=digest, summary=stored.descriptor.media_type)
    is_image = value.config.media_type in mediatypes.CONFIGS
    word = "image" if is_image else _as_summary(kind_of(stored.descriptor.artifact_type))
    attached = _ATTACHED.fullmatch(name)
    if attached and attached[1]:
        word = _as_summary(_COSIGN[attached[1]])
    return TagLine(name=name, digest=digest, summary=word, size=_size(value))


def _as_summary(word: str) -> str:
    return word if word.startswith("SBOM") else word.lower()


def _size(manifest: Manifest) -> int:
    """The bytes of everything that the manifest refers to."""
    return manifest.config.size + sum(layer.size for layer in manifest.layers)


def read_view(store: RegistryStore, repository: str, reference: Digest | str) -> ManifestView | None:
    """A manifest by tag or digest; None when it is not there."""
    digest = store.tags.get(repository, reference) if isinstance(reference, str) else reference
    stored = None if digest is None else store.manifests.get(repository, digest)
    if stored is None:
        return None
    value = _parse(stored)
    referrers = _referrers(store, repository, stored.digest)
    if isinstance(value, Index):
        children = _children(store, repository, value)
        return ManifestView(
            stored=stored, children=children, referrers=referrers, annotations=value.annotations
        )
    if value is None:
        return ManifestView(stored=stored, referrers=referrers)
    config = _config(store, repository, value)
    return ManifestView(
        stored=stored,
        layers=_layers(value, config),
        referrers=referrers,
        annotations=value.annotations,
        facts=_facts(config),
    )


def _parse(stored: StoredManifest) -> Manifest | Index | None:
    try:
        return read_manifest(stored.raw, stored.descriptor.media_type, "manifest").value
    except ImageError:
        return None


def _children(store: RegistryStore, repository: str, index: Index) -> tuple[ChildLine, ...]:
    lines = []
    for number, child in enumerate(index.manifests):
        platform = "" if child.platform is None else str(child.platform)
        if child.annotations.get(_BUILT_WITH) == "attestation-manifest":
            platform = "attestation"  # its platform is unknown/unknown, so that nobody runs it
        found = store.manifests.get(repository, child.digest) if number < _MEASURED else None
        value = None if found is None else _parse(found)
        lines.append(
            ChildLine(
                digest=child.digest,
                what=platform or child.artifact_type or child.media_type,
                size=_size(value) if isinstance(value, Manifest) else None,
            )
        )
    return tuple(lines)


def _config(store: RegistryStore, repository: str, manifest: Manifest) -> dict[str, Any]:
    descriptor = manifest.config
    if descriptor.media_type not in mediatypes.CONFIGS or descriptor.size > _CONFIG_LIMIT:
        return {}
    file = store.blobs.open(repository, descriptor.digest)
    if file is None:
        return {}
    with file:
        data = file.read(_CONFIG_LIMIT)
    if Digest.of(data, descriptor.digest.algorithm) != descriptor.digest:
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _layers(manifest: Manifest, config: dict[str, Any]) -> tuple[LayerLine, ...]:
    history = config.get("history")
    rows = [row for row in history if isinstance(row, dict)] if isinstance(history, list) else []
    made = [str(row.get("created_by", "")) for row in rows if not row.get("empty_layer")]
    if len(made) != len(manifest.layers):
        made = [""] * len(manifest.layers)
    return tuple(
        LayerLine(descriptor=layer, made_by=text) for layer, text in zip(manifest.layers, made, strict=True)
    )


def _facts(config: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    inner = config.get("config")
    settings = inner if isinstance(inner, dict) else {}
    parts = [str(config.get(key) or "") for key in ("os", "architecture", "variant")]
    found = [("Platform", "/".join(part for part in parts if part)), ("Created", config.get("created"))]
    for key, label in (
        ("Entrypoint", "Entry point"),
        ("Cmd", "Command"),
        ("User", "User"),
        ("WorkingDir", "Directory"),
    ):
        value = settings.get(key)
        found.append((label, " ".join(map(str, value)) if isinstance(value, list) else value))
    return tuple((label, str(value)) for label, value in found if value)


def _referrers(store: RegistryStore, repository: str, subject: Digest) -> tuple[ReferrerLine, ...]:
    found = [
        ReferrerLine(
            kind=kind_of(item.artifact_type), type=item.artifact_type, digest=item.digest, size=item.size
        )
        for item in collect(store, repository, subject)
    ]
    for suffix, word in _COSIGN.items():
        digest = store.tags.get(repository, f"{subject.algorithm}-{subject.hex}.{suffix}")
        stored = None if digest is None else store.manifests.get(repository, digest)
        if stored is not None:
            value = _parse(stored)  # the manifest says that it is an image; what is in it tells more
            kind = stored.descriptor.artifact_type or stored.descriptor.media_type
            if isinstance(value, Manifest) and value.layers and kind in mediatypes.CONFIGS:
                kind = value.layers[0].media_type
            found.append(ReferrerLine(kind=word, type=kind, digest=stored.digest, size=len(stored.raw)))
    return tuple(found)
