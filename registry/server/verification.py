"""
Which blobs were verified lately, so that they can be sent by the kernel without being looked at again.

Invariants: only the event loop touches the record; it is bound to one file (inode, time of change, size),
so content that somebody replaced or edited is verified again; the record lives in memory only, so a new
process trusts nothing. It has at most 100,000 rows of half a KiB (48 MiB); those whose time is over go as
others come.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import BinaryIO

from oci_image.digest import Digest

_LIMIT = 100_000

Identity = tuple[object, ...]


def identity(file: BinaryIO) -> Identity | None:
    """What tells one content of a file or an object from another one; None for bytes in memory."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        found: Identity | None = getattr(file, "identity", None)
        return found
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def is_file(file: BinaryIO) -> bool:
    """Whether the kernel can send what is read."""
    try:
        file.fileno()
    except OSError:
        return False
    return True


class VerifiedBlobs:
    """
    The record of verified blobs.

    Args:
        window: seconds for which a verification counts.
        clock: seconds that never jump.
    """

    def __init__(self, window: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._window = window
        self._clock = clock
        self._seen: OrderedDict[Digest, tuple[Identity | None, float]] = OrderedDict()

    def add(self, digest: Digest, what: Identity | None) -> None:
        """Record that the content was verified just now."""
        now = self._clock()
        self._seen[digest] = (what, now + self._window)
        self._seen.move_to_end(digest)
        while len(self._seen) > _LIMIT or (self._seen and self._oldest() <= now):
            self._seen.popitem(last=False)

    def _oldest(self) -> float:
        """When the row that was written first ends."""
        return next(iter(self._seen.values()))[1]

    def holds(self, digest: Digest, what: Identity | None) -> bool:
        """Whether exactly this content was verified within the window."""
        found = self._seen.get(digest)
        return found is not None and found[0] == what and self._clock() < found[1]

    def remove(self, digest: Digest) -> None:
        """Forget a blob."""
        self._seen.pop(digest, None)

    def __len__(self) -> int:
        return len(self._seen)
