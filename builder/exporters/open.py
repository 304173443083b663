"""From one output to the exporter that does it."""

from __future__ import annotations

from ..errors import Unsupported
from .archive import ArchiveExporter
from .base import Exporter
from .options import ExportOptions
from .rootfs import LocalExporter, TarExporter


def open_exporter(options: ExportOptions, epoch: int | None = None) -> Exporter:
    """
    The exporter for an archive or a directory; images and registries are not exports but names.

    Args:
        options: what was asked for.
        epoch: the time of files outside of images, if one was asked for.

    Raises:
        Unsupported: no such output.
    """
    if options.type in ("oci", "docker"):
        return ArchiveExporter(
            dest=options.dest,
            docker=options.type == "docker",
            compression=options.compression,
            as_archive=options.as_archive,
        )
    if options.type == "tar":
        return TarExporter(dest=options.dest, split=options.split, epoch=epoch)
    if options.type == "local":
        return LocalExporter(dest=options.dest, split=options.split, epoch=epoch, deletes=options.delete)
    raise Unsupported(f"--output type={options.type} is not supported")
