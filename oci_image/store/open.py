"""
Opening the stores of one place: the only list of storage backends.

One more backend is one more case in `open_store`, and its fixture in the contract suite.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from .base import AgedBlobStore, TagStore
from .layout import LayoutBlobStore, LayoutTagStore
from .memory import MemoryBlobStore, MemoryTagStore
from .notes import Notes

MEMORY = "memory:"
"""The location of stores that live and die with the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The blobs, names and notes of one place."""

    location: str
    blobs: AgedBlobStore
    tags: TagStore
    notes: Notes


def open_store(location: str, *, durable: bool) -> Store:
    """
    The stores at a location: a directory, which becomes an image layout on first use, or ``memory:``.

    Touches nothing yet.

    Args:
        location: the path of the directory, or `MEMORY`.
        durable: whether committed blobs must survive a power cut; names always do.
    """
    if location == MEMORY:
        return Store(
            location=location, blobs=MemoryBlobStore(), tags=MemoryTagStore(), notes=Notes(":memory:")
        )
    root = os.path.abspath(location)
    return Store(
        location=root,
        blobs=LayoutBlobStore(root, durable=durable),
        tags=LayoutTagStore(root),
        notes=Notes(f"{root}/pybuild/notes.db"),
    )
