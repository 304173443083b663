"""
Snapshots: stacks of layers.

The identity of a snapshot is its ChainID (OCI image-spec, config.md), so it means the same to other tools. A
snapshot holds no bytes; a root filesystem on disk is only a cache of one.
"""

from __future__ import annotations

from dataclasses import dataclass

from oci_image.digest import Digest
from oci_image.image import Layer, chain_id


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stack of layers, base first."""

    layers: tuple[Layer, ...] = ()

    @property
    def chain(self) -> str:
        """The ChainID as text; "" for the empty stack."""
        chain = chain_id(self.diff_ids)
        return str(chain) if chain else ""

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        """The layers' diff_ids, base first."""
        return tuple(layer.diff_id for layer in self.layers)

    def with_layer(self, layer: Layer) -> Snapshot:
        """The same stack with one more layer on top."""
        return Snapshot((*self.layers, layer))
