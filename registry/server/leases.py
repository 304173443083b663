"""
What was used a moment ago, so that a garbage collection leaves it alone.

Invariants: whoever is told that content is here has touched it before; content that is being collected
cannot be touched, so it counts as gone from the moment of the decision, before its file is; a read costs an
entry in memory (a third of a KiB), which is written to the index every two seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

from oci_image.digest import Digest

Key = tuple[str, Digest]


class Others(Protocol):
    """Further processes that tell clients what is here."""

    def condemn(self, keys: AbstractSet[Key]) -> None:
        """Let none of them touch these by itself any more. Uses from before can be seen when it returns."""
        ...

    def used(self, key: Key) -> float:
        """When one of them used this last, or something that cannot be told from it."""
        ...

    def release(self, keys: AbstractSet[Key]) -> None:
        """Let them touch these again."""
        ...


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
        self.others: Others | None = None

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
            asked = set(keys) - self._condemned
            if self.others is not None:
                self.others.condemn(asked)
            chosen = {key for key in asked if not self._is_used(key, since)}
            if self.others is not None:
                self.others.release(asked - chosen)
            self._condemned |= chosen
            return chosen

    def _is_used(self, key: Key, since: float) -> bool:
        if self.others is not None and self.others.used(key) > since:
            return True
        return self._used.get(key, since) > since or self._pulled.get(key, (since, 0.0))[0] > since

    def is_condemned(self, repository: str, digest: Digest) -> bool:
        """Whether the collection of this goes on."""
        with self._lock:
            return (repository, digest) in self._condemned

    def release(self, keys: Iterable[Key]) -> None:
        """End the collection of these: they are gone, or stay."""
        with self._lock:
            ended = self._condemned.intersection(keys)
            self._condemned -= ended
            if self.others is not None:
                self.others.release(ended)

    def absorb(self, used: Mapping[Key, float], pulled: Mapping[Key, tuple[float, float]]) -> None:
        """Take over uses and pulls that another process noted."""
        with self._lock:
            for key, when in used.items():
                self._used[key] = max(when, self._used.get(key, when))
            for key, times in pulled.items():
                self._pulled[key] = max(times, self._pulled.get(key, times))

    def take(self) -> tuple[dict[Key, float], dict[Key, tuple[float, float]]]:
        """The uses since the last call with their time, and the pulls with their time and the time of day."""
        with self._lock:
            taken = (self._used, self._pulled)
            self._used, self._pulled = {}, {}
            return taken

    def __len__(self) -> int:
        return len(self._used) + len(self._pulled)
