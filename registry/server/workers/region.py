"""
The memory that all processes of a server share.

Invariants: each word has one process that writes it, except uses, where any later time will do; a word is
eight bytes at a multiple of eight, so readers see it before or after a change. What two names have in common
by accident only makes things stay longer or be read again. Governing source: memfd_create(2).
"""

from __future__ import annotations

import mmap
import os
import zlib

from oci_image.digest import Digest

GENERATIONS = 1 << 14
USES = 1 << 16
SLOTS = 256
_SIZE = 8 * (8 + SLOTS + GENERATIONS + 2 * USES)


class Region:
    """
    The shared words.

    Args:
        descriptor: as `create` made it, in this process or in the one that started it.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, _SIZE)
        words = memoryview(self._map).cast("Q")
        self._switches = words[:8]
        self._uploads = words[8 : 8 + SLOTS].cast("B").cast("q")
        start = 8 + SLOTS
        self._generations = words[start : start + GENERATIONS]
        start += GENERATIONS
        self._uses = words[start : start + USES].cast("B").cast("d")
        self._condemned = words[start + USES :]
        self._words = words

    @classmethod
    def create(cls) -> Region:
        """A new region, all zero."""
        descriptor = os.memfd_create("pybuild-registry", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _SIZE)
        return cls(descriptor)

    def close(self) -> None:
        """Let go of the memory; who still asks fails."""
        for words in (self._switches, self._uploads, self._generations, self._uses, self._condemned):
            words.release()
        self._words.release()
        self._map.close()
        os.close(self.descriptor)

    # The first word: whether the server is read-only.

    @property
    def is_read_only(self) -> bool:
        """Whether pushes and deletions are refused."""
        return bool(self._switches[0])

    def set_read_only(self, value: bool) -> None:
        """Refuse pushes and deletions, or take them again."""
        self._switches[0] = int(value)

    # How many uploads each process started more than it ended.

    def count_upload(self, slot: int, change: int) -> None:
        """Note that a process started or ended uploads."""
        self._uploads[slot] += change

    def uploads(self) -> int:
        """How many uploads are in progress."""
        return max(0, sum(self._uploads))

    def correct_uploads(self, count: int) -> None:
        """Let the sum be what was counted on disk; for the leading process."""
        self._uploads[0] += count - sum(self._uploads)

    # A number for each repository that grows with every change; the leading process writes it.

    def generation(self, repository: str) -> int:
        """The number of changes so far."""
        return self._generations[zlib.crc32(repository.encode()) % GENERATIONS]

    def advance(self, repository: str) -> None:
        """Count a change."""
        self._generations[zlib.crc32(repository.encode()) % GENERATIONS] += 1

    # When something was used last, and whether its collection was decided on.

    @staticmethod
    def place(repository: str, digest: Digest) -> int:
        """Where the words of a blob or manifest are."""
        return zlib.crc32(f"{repository}@{digest}".encode()) % USES

    def use(self, place: int, when: float) -> bool:
        """Note a use; False when the leading process must be asked whether that is possible."""
        self._uses[place] = max(when, self._uses[place])
        return not self._condemned[place]

    def used(self, place: int) -> float:
        """When anything at the place was used last; zero for never."""
        return self._uses[place]

    def condemn(self, place: int, change: int) -> None:
        """Count collections that go on, up or down."""
        self._condemned[place] += change
