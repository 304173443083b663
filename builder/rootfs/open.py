"""Chooses how root filesystems are made here: by overlayfs, or by copying where it would be refused."""

from __future__ import annotations

import os

from oci_image.store.base import BlobStore

from ..host import LayerSource
from ..scratch import Scratch
from .base import RootfsDriver
from .overlay import OverlayDriver

_REFUSED = frozenset(("overlay", "aufs", "nfs", "nfs4", "9p", "vfat", "exfat", "fuse.sshfs", "ecryptfs"))
"""Filesystems that cannot hold the changes of an overlay mount."""


def open_driver(
    blobs: BlobStore, layers: LayerSource, scratch: Scratch, state: str, *, user_namespace: bool
) -> RootfsDriver:
    """The driver for a state directory; reads nothing but the list of mounts."""
    if filesystem_of(state, _mounts()) in _REFUSED:
        from .copying import CopyingDriver

        return CopyingDriver(blobs, layers, scratch, state, user_namespace=user_namespace)
    return OverlayDriver(blobs, layers, scratch, state, user_namespace=user_namespace)


def filesystem_of(path: str, mounts: str) -> str:
    """The type of the filesystem that a path lies on, by the text of /proc/self/mountinfo; "" if unknown."""
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if "-" not in fields[6:]:
            continue
        point = fields[4].encode().decode("unicode_escape", "replace")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        # Of several mounts on one place the last one counts.
        if inside and len(point) >= len(best):
            best, kind = point, fields[fields.index("-", 6) + 1]
    return kind


def _mounts() -> str:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
