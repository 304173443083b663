"""
What a root filesystem driver does: snapshots into directories for sandboxes, and back into layers.

Every implementation passes the same contract suite (tests/contract/test_rootfs.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from oci_image.image import Layer
from runtime.spec import Rootfs

from ..snapshots import Snapshot


class Workspace(Protocol):
    """
    A writable root filesystem over a snapshot, for one sandbox.

    The caller ends it with `release`, after the sandbox is gone, on every path.
    """

    @property
    def root(self) -> Rootfs:
        """What goes into the SandboxSpec."""
        ...

    def capture(self, stamp: Callable[[float], int]) -> Layer:
        """
        The changes as a new layer in the store (blocking); `stamp` maps a file's mtime to the recorded one.

        Raises:
            StoreProblem: the layer cannot be written; nothing is left.
        """
        ...

    def release(self) -> None:
        """Remove everything (blocking); idempotent."""
        ...


class RootfsDriver(Protocol):
    """Makes workspaces; unpacked layers are kept as a cache and may be removed between builds."""

    def prepare(self, snapshot: Snapshot) -> Workspace:
        """
        A workspace over the snapshot, whose layers are in the local store (blocking).

        Raises:
            UnsafeLayer: a layer cannot be unpacked; nothing half-unpacked stays.
            StoreProblem: no space or no permission.
        """
        ...
