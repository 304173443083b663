"""
What a transfer reports while it runs: small values, handed to a callback that must not block.

Invariant: `done` never decreases for one digest within one attempt; nothing is printed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from oci_image.digest import Digest


class Activity(Enum):
    """What happens to a blob."""

    PULLING = "pulling"
    PUSHING = "pushing"
    EXISTS = "exists"
    MOUNTED = "mounted"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobProgress:
    """
    How far one blob is.

    Attributes:
        digest: the blob; for a layer that is compressed while it is pushed, its uncompressed digest.
        done: bytes that were transferred so far.
        total: the size in bytes, None while it is not known.
        what: what happens to it.
    """

    digest: Digest
    done: int
    total: int | None
    what: Activity


OnProgress = Callable[[BlobProgress], None]


def ignore_progress(_progress: BlobProgress) -> None:
    """Take a report and do nothing with it."""
