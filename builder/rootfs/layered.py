"""What the drivers share: where layers come from and go to, and the directories of unpacked layers."""

from __future__ import annotations

from oci_image.store.base import BlobStore

from ..host import LayerSource
from ..scratch import Scratch
from ..snapshots import Snapshot
from .unpacked import UnpackedLayers


class LayeredDriver:
    """
    The beginning of a driver.

    Args:
        blobs: where captured layers go.
        layers: the bytes of layers.
        scratch: where workspaces are while a sandbox runs.
        state: the state directory.
        user_namespace: this process is root of a user namespace only.
    """

    def __init__(
        self,
        blobs: BlobStore,
        layers: LayerSource,
        scratch: Scratch,
        state: str,
        *,
        user_namespace: bool = False,
    ) -> None:
        self._blobs = blobs
        self._layers = layers
        self._scratch = scratch
        self._user_namespace = user_namespace
        self._unpacked = UnpackedLayers(layers, scratch, state, user_namespace=user_namespace)

    def unpacked(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Directories, bottom to top, that make up the snapshot."""
        return self._unpacked.directories(snapshot)
