"""
What tags in a directory and in a bucket have in common: lists come from an index, and changes to one
repository happen one after the other.
"""

from __future__ import annotations

import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

from oci_image.digest import Digest

from .base import NO_LIMIT, TagCondition
from .index import Index

_STRIPES = 64


class IndexedTags(ABC):
    """The part of `TagAccess` that does not depend on where the tags are."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._locks = [threading.RLock() for _ in range(_STRIPES)]

    def lock(self, repository: str) -> threading.RLock:
        """The lock for changes to the repository."""
        return self._locks[zlib.crc32(repository.encode()) % _STRIPES]

    @abstractmethod
    def get(self, repository: str, tag: str) -> Digest | None:
        """What the tag stands for."""

    @abstractmethod
    def remove(self, repository: str, tag: str) -> None:
        """Remove the tag, whatever it stands for."""

    def names(self, repository: str, after: str = "", limit: int = NO_LIMIT) -> Sequence[str] | None:
        """The tags after a name, sorted."""
        names = self._index.tag_names(repository, after, limit)
        return names if names or self._index.exists(repository) else None

    def delete(self, repository: str, tag: str, condition: TagCondition | None = None) -> bool:
        """Remove the tag."""
        with self.lock(repository):
            current = self.get(repository, tag)
            if current is None:
                return False
            if condition is not None:
                condition.check(current)
            self.remove(repository, tag)
            return True

    def repositories(self, after: str = "", limit: int = NO_LIMIT) -> Sequence[str]:
        """The repositories after a name that hold a manifest, sorted."""
        return self._index.repository_names(after, limit)
