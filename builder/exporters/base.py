"""
What an exporter does: it takes finished images somewhere.

Exporters write a temporary name first and rename, so that a failed one leaves nothing that looks finished.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from oci_image.digest import Digest
from oci_image.reference import Reference

from ..events import EventSink
from ..host import Host
from ..request import ImageSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What became of an export: one line for people, and digests of manifests by name."""

    detail: str
    digests: dict[str, Digest] = field(default_factory=dict, hash=False)


class Exporter(Protocol):
    """Takes finished images somewhere."""

    async def export(
        self, made: ImageSet, names: tuple[Reference, ...], host: Host, sink: EventSink
    ) -> Exported:
        """
        Take the images there.

        Raises:
            ExportProblem: they cannot be taken there.
        """
        ...
