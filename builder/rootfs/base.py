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

    def capture(self, stamp: Callable[[float], int], *, skip: frozenset[str] = frozenset()) -> Layer:
        """
        The changes as a new layer in the store (blocking), at most once.

        `stamp` maps a file's mtime to the recorded one; paths in `skip` (places of mounts) are no part of it.

        Raises:
            StoreProblem: the layer cannot be written; nothing is left.
        """
        ...

    def release(self) -> None:
        """Remove everything (blocking); idempotent."""
        ...


class RootfsDriver(Protocol):
    """Makes workspaces; unpacked layers are kept as a cache and may be removed between builds."""

    def unpacked(self, snapshot: Snapshot) -> tuple[str, ...]:
        """
        Directories, bottom to top, that make up the snapshot when they are merged; never to be changed
        (blocking).

        Raises:
            UnsafeLayer, StoreProblem: as `prepare`.
        """
        ...

    def prepare(self, snapshot: Snapshot) -> Workspace:
        """
        A workspace over the snapshot, whose layers are in the local store (blocking).

        Raises:
            UnsafeLayer: a layer cannot be unpacked; nothing half-unpacked stays.
            StoreProblem: no space or no permission.
        """
        ...
