"""
Images and layers as values.

An `Image` pairs a manifest with its configuration. A `Layer` is one filesystem difference: `diff_id` names
the uncompressed archive, `descriptor` the form in which it is stored or distributed.
"""

from __future__ import annotations

from dataclasses import dataclass

from .config import ImageConfig
from .descriptor import Descriptor
from .digest import Digest
from .documents import Document, Manifest
from .errors import InvalidDocument


@dataclass(frozen=True, slots=True)
class Layer:
    """One filesystem difference."""

    diff_id: Digest
    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest and the configuration that it points to."""

    manifest: Document[Manifest]
    config: Document[ImageConfig]

    @property
    def id(self) -> Digest:
        """The image ID as Docker shows it: the digest of the configuration."""
        return self.config.digest

    @property
    def layers(self) -> tuple[Layer, ...]:
        """
        The layers, base first.

        Raises:
            InvalidDocument: manifest and configuration disagree about the number of layers.
        """
        diff_ids, descriptors = self.config.value.diff_ids, self.manifest.value.layers
        if len(diff_ids) != len(descriptors):
            raise InvalidDocument(
                f"image {self.id}: {len(descriptors)} layers in the manifest, "
                f"{len(diff_ids)} in the configuration"
            )
        return tuple(Layer(*pair) for pair in zip(diff_ids, descriptors, strict=True))


def chain_id(diff_ids: tuple[Digest, ...]) -> Digest | None:
    """
    The ChainID of a stack of layers, None for no layers.

    Governing source: OCI image-spec, config.md, "Layer ChainID".
    """
    chain: Digest | None = None
    for diff_id in diff_ids:
        chain = diff_id if chain is None else Digest.of(f"{chain} {diff_id}".encode())
    return chain
