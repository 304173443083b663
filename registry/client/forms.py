"""
In which form each layer of an image leaves: as it rests, or compressed by an encoder.

Invariants: only layers that rest as plain archives change; a manifest whose layers do not change keeps its
bytes; which form a layer has depends on its bytes and the encoder alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Document, Index, Manifest, author_manifest, read_config
from oci_image.layer.encoders import Encoder
from oci_image.store.base import BlobStore
from oci_image.store.notes import Notes

from .fetching import read_blob

_PLAIN_LAYERS = (mediatypes.OCI_LAYER, mediatypes.DOCKER_LAYER)


class LayerForms:
    """
    The forms that one encoder gives.

    Args:
        encoder: how plain layers are compressed.
        notes: which forms were made before.
    """

    def __init__(self, encoder: Encoder, notes: Notes) -> None:
        self.encoder = encoder
        self._encoder_id = encoder.id
        self._notes = notes

    def changes(self, layer: Descriptor) -> bool:
        """Whether the layer leaves in another form than it rests in."""
        return layer.media_type in _PLAIN_LAYERS and self.encoder.kind != "none"

    def made(self, layer: Descriptor, manifest: Manifest, digest: Digest, size: int) -> Descriptor:
        """The descriptor of the layer's compressed bytes, in the manifest's family of media types."""
        docker = manifest.media_type == mediatypes.DOCKER_MANIFEST
        return replace(layer, media_type=self.encoder.media_type(docker=docker), digest=digest, size=size)

    def known(self, layer: Descriptor, diff_id: Digest, manifest: Manifest) -> Descriptor | None:
        """The form that the encoder gave to this layer before."""
        variant = self._notes.variant(diff_id, self._encoder_id)
        return variant and self.made(layer, manifest, variant.digest, variant.size)

    def remember(self, diff_id: Digest, form: Descriptor) -> None:
        """Note the form for next time."""
        self._notes.remember_variant(diff_id, self._encoder_id, replace(form, annotations={}, urls=()))

    def foreseen(
        self, document: Document[Manifest | Index], manifest: Manifest, diff_ids: Sequence[Digest]
    ) -> Document[Manifest | Index] | None:
        """The manifest as it will be, if every form is known already."""
        forms: list[Descriptor] = []
        for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
            form = self.known(layer, diff_id, manifest) if self.changes(layer) else layer
            if form is None:
                return None
            forms.append(form)
        return with_layers(document, manifest, forms)


def with_layers(
    document: Document[Manifest | Index], manifest: Manifest, layers: Sequence[Descriptor]
) -> Document[Manifest | Index]:
    """The manifest with these layers: the same bytes when they are the same."""
    if tuple(layers) == manifest.layers:
        return document
    return author_manifest(replace(manifest, layers=tuple(layers)))


def diff_ids_of(blobs: BlobStore, manifest: Manifest) -> tuple[Digest, ...]:
    """
    The diff_id of each layer; the layer's own digest where the image has none for it.

    Raises:
        NotFound, VerificationFailed, InvalidDocument: the configuration is not there or not usable.
    """
    if manifest.config.media_type in mediatypes.CONFIGS:
        raw = read_blob(blobs, manifest.config)
        config = read_config(raw, manifest.config, f"configuration {manifest.config.digest}")
        if len(config.value.diff_ids) == len(manifest.layers):
            return config.value.diff_ids
    # Artifacts, and BuildKit's attestations: an image configuration with layers of another kind.
    return tuple(layer.digest for layer in manifest.layers)
