"""
What was used a moment ago, so that a garbage collection leaves it alone.

Invariants: whoever is told that content is here has touched it before; content that is being collected
cannot be touched, so it counts as gone from the moment of the decision, before its file is; a read costs an
entry in memory, which is written to the index in batches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from oci_image.digest import Digest

Key = tuple[str, Digest]


class Leases:
    """
    Uses of blobs and manifests since the last batch.

    Args:
        clock: seconds for grace periods.
        wall: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._used: dict[Key, float] = {}
        self._pulled: dict[Key, tuple[float, float]] = {}
        self._condemned: set[Key] = set()

    def touch(self, repository: str, digest: Digest) -> bool:
        """Note a use; False when the content is being collected and must not be relied upon."""
        key = (repository, digest)
        with self._lock:
            if key in self._condemned:
                return False
            self._used[key] = self._clock()
            return True

    def pull(self, repository: str, digest: Digest) -> None:
        """Note that a manifest was read."""
        with self._lock:
            self._pulled[repository, digest] = (self._clock(), self._wall())

    def condemn(self, keys: Iterable[Key], since: float) -> set[Key]:
        """Of these, the ones that nobody used after `since`; from now on nobody can, until `release`."""
        with self._lock:
            chosen = {key for key in keys if not self._is_used(key, since)}
            self._condemned |= chosen
            return chosen

    def _is_used(self, key: Key, since: float) -> bool:
        return self._used.get(key, since) > since or self._pulled.get(key, (since, 0.0))[0] > since

    def is_condemned(self, repository: str, digest: Digest) -> bool:
        """Whether the collection of this goes on."""
        with self._lock:
            return (repository, digest) in self._condemned

    def release(self, keys: Iterable[Key]) -> None:
        """End the collection of these: they are gone, or stay."""
        with self._lock:
            self._condemned.difference_update(keys)

    def take(self) -> tuple[dict[Key, float], dict[Key, tuple[float, float]]]:
        """The uses since the last call with their time, and the pulls with their time and the time of day."""
        with self._lock:
            taken = (self._used, self._pulled)
            self._used, self._pulled = {}, {}
            return taken

    def __len__(self) -> int:
        return len(self._used) + len(self._pulled)
