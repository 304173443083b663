"""From one ``-o`` to the exporter that does it."""

from __future__ import annotations

from oci_image.errors import ImageError
from oci_image.layer.compression import parse_encoder

from ..errors import InvalidOption, Unsupported
from ..request import Output
from .archive import ArchiveExporter
from .base import Exporter
from .rootfs import LocalExporter, TarExporter


def open_exporter(output: Output, compression: str) -> Exporter:
    """
    The exporter for an archive or a directory; images and registries are not exports but names.

    Args:
        output: what was asked for.
        compression: of layers, unless the output says otherwise.

    Raises:
        InvalidOption: the compression is not known.
        Unsupported: no such output.
    """
    kind = output.attributes.get("compression")
    try:
        parse_encoder(kind or compression)
    except ImageError as problem:
        raise InvalidOption(f"--output type={output.type}: {problem.message}") from problem
    if output.type == "oci":
        return ArchiveExporter(dest=output.dest, docker=False, compression=kind or compression)
    if output.type == "docker":
        # docker load reads uncompressed layers fastest, and docker save writes them so.
        return ArchiveExporter(dest=output.dest, docker=True, compression=kind or "uncompressed")
    if output.type == "tar":
        return TarExporter(output.dest)
    if output.type == "local":
        return LocalExporter(output.dest)
    raise Unsupported(f"--output type={output.type} is not supported")
