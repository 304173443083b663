"""
Which uploads are in progress: the bookkeeping that every storage shares.

Invariants: identifiers are made here and looked up in memory, so what a client sends never becomes a path;
an upload that a request writes to does not expire.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Session(Protocol):
    """An upload as the bookkeeping sees it."""

    repository: str
    identifier: str
    used: float

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        ...

    @property
    def is_paused(self) -> bool:
        """Whether no request is writing."""
        ...

    def discard(self) -> None:
        """End the upload."""
        ...


S = TypeVar("S", bound=Session)


class Sessions(Generic[S]):
    """
    The uploads of one storage.

    Args:
        clock: seconds that never jump.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._guard = threading.Lock()
        self._sessions: dict[str, S] = {}

    def add(self, upload: S) -> S:
        """Take up an upload; returns it."""
        with self._guard:
            self._sessions[upload.identifier] = upload
        return upload

    def all(self) -> list[S]:
        """The uploads in progress."""
        with self._guard:
            return list(self._sessions.values())

    def find(self, repository: str, identifier: str) -> S | None:
        """An upload of the repository."""
        upload = self._sessions.get(identifier)
        return upload if upload is not None and upload.repository == repository else None

    def forget(self, identifier: str) -> None:
        """Drop an upload that has ended."""
        with self._guard:
            self._sessions.pop(identifier, None)

    def count(self) -> int:
        """How many uploads there are."""
        return len(self._sessions)

    def sizes(self) -> list[tuple[str, str, int]]:
        """Repository, identifier and bytes of each upload."""
        return [(item.repository, item.identifier, item.size) for item in self.all()]

    def expire(self, idle_seconds: float) -> int:
        """Discard idle uploads; returns how many."""
        limit = self.clock() - idle_seconds
        idle = [upload for upload in self.all() if upload.used <= limit and upload.is_paused]
        for upload in idle:
            upload.discard()
        return len(idle)
