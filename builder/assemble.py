"""
From a target and its snapshot to an image in the store.

Deterministic: the same target over the same layers gives the same bytes. Layers are described as they rest,
so assembling moves no bytes; compression belongs to exporters.
"""

from __future__ import annotations

from dataclasses import replace

from oci_image.config import History
from oci_image.documents import Manifest, author_config, author_manifest
from oci_image.image import Image
from oci_image.store.base import BlobStore

from .graph import Target
from .snapshots import Snapshot

_UNKNOWN = History(comment="not in the history of the base image")


def assemble(target: Target, snapshot: Snapshot, blobs: BlobStore) -> Image:
    """
    Write configuration and manifest of a target; idempotent.

    Raises:
        StoreProblem: the documents cannot be written.
    """
    history = matching_history(target.config.history, len(snapshot.layers))
    configuration = author_config(replace(target.config, diff_ids=snapshot.diff_ids, history=history))
    layers = tuple(layer.descriptor for layer in snapshot.layers)
    manifest = author_manifest(Manifest(config=configuration.descriptor, layers=layers))
    for raw, digest in ((configuration.raw, configuration.digest), (manifest.raw, manifest.digest)):
        if blobs.stat(digest) != len(raw):
            with blobs.writer() as writer:
                writer.write(raw)
                writer.commit(digest)
    return Image(manifest, configuration)


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
