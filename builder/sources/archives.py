"""Archives as build contexts: a directory with what a tar file holds, compressed or not."""

from __future__ import annotations

from typing import BinaryIO

from oci_image.layer.apply import apply_layer
from oci_image.layer.compression import open_decompressed, sniff
from oci_image.layer.read import LayerReader, is_tar

_HEADER = 512


def is_archive(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a tar archive, or compressed as one may be."""
    return sniff(start[:6]) != "none" or is_tar(start[:_HEADER])


def unpack_context(stream: BinaryIO, directory: str, *, user_namespace: bool) -> None:
    """
    Unpack into an empty directory; nothing gets outside of it (blocking).

    Raises:
        UnsafeLayer: the archive is broken, or breaks a rule.
        StoreProblem: the file system fails.
    """
    with open_decompressed(stream) as plain:
        apply_layer(
            plain,
            directory,
            whiteouts="merge",
            user_namespace=user_namespace,
            # Owners of files of a build context do not count.
            on_chown_refused=lambda *_: None,
            on_device_refused=lambda _: None,
        )


def newest_entry(stream: BinaryIO) -> int | None:
    """
    The latest time of a member of an archive, in Unix seconds; None for an empty one (blocking).

    Raises:
        UnsafeLayer: the archive is broken, or breaks a rule.
    """
    with open_decompressed(stream) as plain:
        return max((entry.mtime for entry, _ in LayerReader(plain)), default=None)
