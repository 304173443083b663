"""
The two encodings of "removed": names in archives, and overlayfs's marks on disk.

In an archive, an empty file ``.wh.NAME`` removes NAME of the layers below, and ``.wh..wh..opq`` everything
that they have in its directory. On disk, overlayfs uses a character device 0:0 and an extended attribute of
the directory.

Governing source: OCI image-spec, layer.md, "Whiteouts"; Linux Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os
import stat

from ..errors import UnsafeLayer
from .pathsafe import shown

PREFIX = ".wh."
OPAQUE = ".wh..wh..opq"
_METADATA = ".wh..wh."

OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")


def opaque_xattr(*, user_namespace: bool) -> str:
    """The attribute that hides what is below a directory, as overlayfs wants it at the place."""
    return "user.overlay.opaque" if user_namespace else "trusted.overlay.opaque"


def is_whiteout_device(status: os.stat_result) -> bool:
    """Whether overlayfs takes a file on disk for a removed name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_aufs_metadata(path: str) -> bool:
    """Whether a member is bookkeeping of AUFS that every reader passes over; the opaque mark is none."""
    return path.startswith(_METADATA) and path != OPAQUE


def marked_path(path: str) -> str | None:
    """
    The path that a whiteout member hides in the layers below; None for an ordinary member.

    For an opaque mark it is the directory, which the layer itself then holds.

    Raises:
        UnsafeLayer: the whiteout names nothing, or something outside its directory.
    """
    parent, slash, name = path.rpartition("/")
    if not name.startswith(PREFIX):
        return None
    if name == OPAQUE:
        return parent
    hidden = name[len(PREFIX) :]
    if hidden in ("", ".", "..") or hidden.startswith(PREFIX):
        raise UnsafeLayer(f"{shown(path)}: the whiteout names nothing that can be removed")
    return f"{parent}{slash}{hidden}"


def whiteout_for(path: str) -> str:
    """The member that removes a path."""
    parent, slash, name = path.rpartition("/")
    return f"{parent}{slash}{PREFIX}{name}"


def opaque_mark_in(path: str) -> str:
    """The member that hides what the layers below have in a directory."""
    return f"{path}/{OPAQUE}" if path else OPAQUE
