"""
Reading everything again to find bytes that changed by themselves.

Invariants: what is damaged goes to quarantine, where nobody reads it, and the next push of it repairs it in
every repository; the disk is not used more than the given rate; what goes away meanwhile is no problem.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from oci_image.digest import Digest, Hasher

from ..store.durable import storage_errors
from ..store.indexed import IndexedStore

_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubReport:
    """
    What was read.

    Attributes:
        checked: how many blobs and manifests.
        size: how many bytes.
        damaged: what went to quarantine, with the repositories that have it.
    """

    checked: int = 0
    size: int = 0
    damaged: dict[Digest, tuple[str, ...]] = field(default_factory=dict)


class Scrubber:
    """
    Reads one storage.

    Args:
        store: the open storage.
        rate: bytes per second; 0 for as fast as it goes.
        damaged: called with what went to quarantine and the repositories that have it.
    """

    def __init__(
        self,
        store: IndexedStore,
        *,
        rate: float = 0.0,
        damaged: Callable[[Digest, tuple[str, ...]], None] | None = None,
    ) -> None:
        self._store = store
        self._rate = rate
        self._damaged = damaged or (lambda _digest, _repositories: None)
        self._size = 0
        self._start = 0.0
        self.stopped = threading.Event()

    def scrub(self) -> ScrubReport:
        """Read everything once, or until `stopped`."""
        self._size, self._start = 0, time.monotonic()
        found: dict[Digest, tuple[str, ...]] = {}
        checked = 0
        for digest in self._store.blobs.contents():
            if self.stopped.is_set():
                break
            checked += 1
            if not self._is_whole(digest):
                holders = tuple(sorted(self._store.index.holders(digest)))
                self._store.blobs.quarantine(digest)
                found[digest] = holders
                self._damaged(digest, holders)
        for repository, text, size in self._store.index.rows(
            "SELECT repository, digest, size FROM manifests ORDER BY repository, digest"
        ):
            if self.stopped.is_set():
                break
            checked += 1
            digest = Digest.parse(text)
            if not self._store.manifests.verify(repository, digest):
                found[digest] = (*found.get(digest, ()), repository)
                self._damaged(digest, (repository,))
            self._pause(size)
        return ScrubReport(checked=checked, size=self._size, damaged=found)

    def _is_whole(self, digest: Digest) -> bool:
        hasher = Hasher(digest.algorithm)
        with storage_errors():
            file = self._store.blobs.open_content(digest)
            if file is None:
                return True
            with file:
                while (block := file.read(_BLOCK)) and not self.stopped.is_set():
                    hasher.update(block)
                    self._pause(len(block))
        return self.stopped.is_set() or hasher.digest() == digest

    def _pause(self, size: int) -> None:
        self._size += size
        if self._rate > 0:
            ahead = self._size / self._rate - (time.monotonic() - self._start)
            if ahead > 0:
                self.stopped.wait(ahead)
