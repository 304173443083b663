"""
What an exporter does: it takes a finished image somewhere.

Exporters write a temporary name first and rename, so that a failed one leaves nothing that looks finished.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from oci_image.digest import Digest
from oci_image.image import Image
from oci_image.reference import Reference

from ..events import EventSink
from ..host import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What became of an export: one line for people, and digests of manifests by name."""

    detail: str
    digests: dict[str, Digest] = field(default_factory=dict, hash=False)


class Exporter(Protocol):
    """Takes finished images somewhere."""

    async def export(
        self, image: Image, names: tuple[Reference, ...], host: Host, sink: EventSink
    ) -> Exported:
        """
        Take the image there.

        Raises:
            ExportProblem: it cannot be taken there.
        """
        ...
