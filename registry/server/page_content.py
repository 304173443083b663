"""
What the web page shows of manifests, read from the storage.

Invariants: everything here came from clients, so nothing is trusted to have a form; sizes of what is read are
bounded; a document that cannot be read is shown without what it would have told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Index, Manifest, read_manifest
from oci_image.errors import ImageError

from .page_kinds import ATTACHED, ATTACHMENTS, HELM, as_summary, instruction, kind_of, kind_of_manifest
from .referrers import collect
from .store.base import RegistryStore, StoredManifest

_CONFIG_LIMIT = 1024 * 1024
_BUILT_WITH = "vnd.docker.reference.type"
_TITLE = "org.opencontainers.image.title"
_MEASURED = 100  # manifests of an index, or of a page of tags, whose sizes are looked up


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLine:
    """A layer, and the command that made it if the configuration tells, or the name of its file."""

    descriptor: Descriptor
    made_by: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrerLine:
    """Something that refers to a manifest: its kind in a word, where it is, and the bytes of all of it."""

    kind: str
    type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TagLine:
    """
    A tag in a list.

    Attributes:
        name: the tag.
        digest: what it stands for; None when that went meanwhile.
        summary: what that is, in a word or two.
        size: the bytes of everything that it refers to; of the smallest image of an index.
        largest: the bytes of the largest image of an index.
    """

    name: str
    digest: Digest | None
    summary: str = ""
    size: int | None = None
    largest: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildLine:
    """A manifest of an index: what it is for, and the size of what it refers to where that is known."""

    digest: Digest
    what: str
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestView:
    """
    A manifest with everything that is told about it.

    Attributes:
        stored: the manifest.
        kind: what it is, in a word: `image`, `index`, `chart`, or the type of an artifact.
        layers: its layers.
        children: the manifests of an index.
        referrers: what refers to it.
        annotations: its own.
        facts: what its configuration tells, by its label.
    """

    stored: StoredManifest
    kind: str = ""
    layers: tuple[LayerLine, ...] = ()
    children: tuple[ChildLine, ...] = ()
    referrers: tuple[ReferrerLine, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def layers_size(self) -> int:
        """The sum of the layers."""
        return sum(line.descriptor.size for line in self.layers)


def read_tags(store: RegistryStore, repository: str, names: Sequence[str]) -> list[TagLine]:
    """Lines for tags."""
    sizes: dict[Digest, int | None] = {}
    return [_tag_line(store, repository, name, sizes) for name in names]


def _tag_line(store: RegistryStore, repository: str, name: str, sizes: dict[Digest, int | None]) -> TagLine:
    digest = store.tags.get(repository, name)
    stored = None if digest is None else store.manifests.get(repository, digest)
    if stored is None:
        return TagLine(name=name, digest=digest)
    value = _parse(stored)
    if isinstance(value, Index):
        platforms = [str(item.platform) for item in value.manifests if item.platform is not None]
        known = [platform for platform in platforms if not platform.startswith("unknown")]
        if ATTACHED.fullmatch(name):
            return TagLine(name=name, digest=digest, summary="referrers")
        found = _sizes_of_images(store, repository, value, sizes)
        return TagLine(
            name=name,
            digest=digest,
            summary=", ".join(known) or "index",
            size=min(found, default=None),
            largest=max(found, default=None),
        )
    if value is None:
        return TagLine(name=name, digest=digest, summary=stored.descriptor.media_type)
    word = kind_of_manifest(stored, value)
    attached = ATTACHED.fullmatch(name)
    if attached and attached[1]:
        word = as_summary(ATTACHMENTS[attached[1]])
    return TagLine(name=name, digest=digest, summary=word, size=_size(value))


def _sizes_of_images(
    store: RegistryStore, repository: str, index: Index, sizes: dict[Digest, int | None]
) -> list[int]:
    """The sizes of the images of an index, as far as a page may look them up."""
    for child in index.manifests:
        if child.digest not in sizes and len(sizes) < _MEASURED and not _is_attestation(child):
            found = store.manifests.get(repository, child.digest)
            value = None if found is None else _parse(found)
            sizes[child.digest] = _size(value) if isinstance(value, Manifest) else None
    known = [sizes.get(child.digest) for child in index.manifests]
    return [size for size in known if size is not None]


def _is_attestation(child: Descriptor) -> bool:
    return child.annotations.get(_BUILT_WITH) == "attestation-manifest"


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
            stored=stored,
            kind="index",
            children=children,
            referrers=referrers,
            annotations=value.annotations,
        )
    if value is None:
        return ManifestView(stored=stored, kind="document", referrers=referrers)
    config = _config(store, repository, value)
    return ManifestView(
        stored=stored,
        kind=kind_of_manifest(stored, value),
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
        if _is_attestation(child):
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
    if descriptor.media_type not in (*mediatypes.CONFIGS, HELM) or descriptor.size > _CONFIG_LIMIT:
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
        LayerLine(descriptor=layer, made_by=instruction(text), title=layer.annotations.get(_TITLE, ""))
        for layer, text in zip(manifest.layers, made, strict=True)
    )


def _facts(config: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    inner = config.get("config")
    settings = inner if isinstance(inner, dict) else {}
    parts = [str(config.get(key) or "") for key in ("os", "architecture", "variant")]
    found = [("Platform", "/".join(part for part in parts if part)), ("Created", config.get("created"))]
    for key, label in (
        ("description", "Description"),
        ("version", "Version"),
        ("appVersion", "Of the application"),
        ("home", "Home"),
    ):
        found.append((label, config.get(key)))  # of a chart
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
    found = []
    for number, item in enumerate(collect(store, repository, subject)):
        held = store.manifests.get(repository, item.digest) if number < _MEASURED else None
        value = None if held is None else _parse(held)
        size = _size(value) if isinstance(value, Manifest) else item.size
        kind, type_ = kind_of(item.artifact_type), item.artifact_type
        found.append(ReferrerLine(kind=kind, type=type_, digest=item.digest, size=size))
    for suffix, word in ATTACHMENTS.items():
        digest = store.tags.get(repository, f"{subject.algorithm}-{subject.hex}.{suffix}")
        stored = None if digest is None else store.manifests.get(repository, digest)
        if stored is not None:
            value = _parse(stored)  # the manifest says that it is an image; what is in it tells more
            kind = stored.descriptor.artifact_type or stored.descriptor.media_type
            if isinstance(value, Manifest) and value.layers and kind in mediatypes.CONFIGS:
                kind = value.layers[0].media_type
            size = _size(value) if isinstance(value, Manifest) else len(stored.raw)
            found.append(ReferrerLine(kind=word, type=kind, digest=stored.digest, size=size))
    return tuple(found)
