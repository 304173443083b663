"""Chooses how root filesystems are made here."""

from __future__ import annotations

from oci_image.store.base import BlobStore

from ..host import LayerSource
from ..scratch import Scratch
from .base import RootfsDriver
from .overlay import OverlayDriver


def open_driver(
    blobs: BlobStore, layers: LayerSource, scratch: Scratch, state: str, *, user_namespace: bool
) -> RootfsDriver:
    """The driver for this machine."""
    return OverlayDriver(blobs, layers, scratch, state, user_namespace=user_namespace)
