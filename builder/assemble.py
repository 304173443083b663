"""
From targets and their snapshots to images in the store, and to the index over them.

Deterministic: the same target over the same layers gives the same bytes. Layers are described as they rest,
so assembling moves no bytes; compression belongs to exporters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from oci_image import mediatypes
from oci_image.config import History
from oci_image.documents import Document, Index, Manifest, author_config, author_index, author_manifest
from oci_image.image import Image
from oci_image.platform import Platform
from oci_image.store.base import BlobStore

from .errors import InvalidOption
from .graph import Target
from .request import Annotation, ImageSet
from .snapshots import Snapshot

_UNKNOWN = History(comment="not in the history of the base image")


def assemble(
    target: Target, snapshot: Snapshot, blobs: BlobStore, annotations: Mapping[str, str] | None = None
) -> Image:
    """
    Write configuration and manifest of a target; idempotent.

    Args:
        target: what was built.
        snapshot: what it came to.
        blobs: where to.
        annotations: of the manifest.

    Raises:
        StoreProblem: the documents cannot be written.
    """
    history = matching_history(target.config.history, len(snapshot.layers))
    configuration = author_config(replace(target.config, diff_ids=snapshot.diff_ids, history=history))
    layers = tuple(layer.descriptor for layer in snapshot.layers)
    manifest = author_manifest(
        Manifest(config=configuration.descriptor, layers=layers, annotations=annotations or {})
    )
    put(configuration, blobs)
    put(manifest, blobs)
    return Image(manifest, configuration)


def put(document: Document[Any], blobs: BlobStore) -> None:
    """
    Let a document be in the store.

    Raises:
        StoreProblem: it cannot be written.
    """
    if blobs.stat(document.digest) != len(document.raw):
        with blobs.writer() as writer:
            writer.write(document.raw)
            writer.commit(document.digest)


def gather(
    made: ImageSet,
    annotations: Sequence[Annotation],
    blobs: BlobStore,
    *,
    as_index: bool,
    media_type: str = mediatypes.OCI_INDEX,
) -> ImageSet:
    """
    The set with an index over its images, if it needs one, and with what is annotated outside of manifests.

    `check_annotations` was called before.

    Args:
        made: the images.
        annotations: those of all levels; the manifests have theirs already.
        blobs: where to.
        as_index: whether an index is wanted.
        media_type: that of the index.

    Raises:
        StoreProblem: the index cannot be written.
    """
    if not as_index:
        own = annotations_of(annotations, "manifest-descriptor", made.platforms[0])
        return replace(made, index=None, annotations=own)
    entries = tuple(
        replace(
            image.manifest.descriptor,
            platform=platform,
            annotations=annotations_of(annotations, "manifest-descriptor", platform),
        )
        for image, platform in zip(made.images, made.platforms, strict=True)
    )
    own = annotations_of(annotations, "index", None)
    index = author_index(Index(manifests=entries, media_type=media_type, annotations=own))
    put(index, blobs)
    return replace(made, index=index, annotations=annotations_of(annotations, "index-descriptor", None))


def annotations_of(
    annotations: Sequence[Annotation], level: str, platform: Platform | None
) -> dict[str, str]:
    """The annotations of a level; those for the platform win over those for every one."""
    found = [one for one in annotations if one.level == level]
    general = {one.key: one.value for one in found if one.platform is None}
    return general | {one.key: one.value for one in found if one.platform == platform is not None}


def check_annotations(
    annotations: Sequence[Annotation], platforms: Sequence[Platform], *, has_index: bool
) -> None:
    """
    Find annotations that have no place.

    Raises:
        InvalidOption: one is for an index, and there is none, or for a platform that is not built.
    """
    for one in annotations:
        if one.level.startswith("index") and not has_index:
            raise InvalidOption(
                f"annotation {one.level}:{one.key}: a build for one platform makes no index",
                hint="build for several platforms, or with --build-arg BUILDKIT_MULTI_PLATFORM=1",
            )
        if one.platform is not None and one.platform not in platforms:
            raise InvalidOption(
                f"annotation {one.level}[{one.platform}]:{one.key}: this build is not for {one.platform}",
                hint="it is for " + ", ".join(map(str, platforms)),
            )


def matching_history(history: tuple[History, ...], layers: int) -> tuple[History, ...]:
    """
    A history that tells of exactly as many layers as there are; clients refuse images in which it does not.

    Base images of some tools have none, or one that is incomplete: what is missing is missing at the bottom,
    and of too many entries the lowest are taken to have no layer.
    """
    told = sum(not entry.empty_layer for entry in history)
    if told <= layers:
        return (_UNKNOWN,) * (layers - told) + history if history else history
    matched = []
    for entry in history:
        if told > layers and not entry.empty_layer:
            matched.append(replace(entry, empty_layer=True))
            told -= 1
        else:
            matched.append(entry)
    return tuple(matched)
