"""
What manifests in a directory and in a bucket have in common: they are found by an index and kept by leases.

Invariant: what a collection has decided upon is never handed out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from oci_image.digest import Digest

from ..leases import Leases
from .base import StoredManifest
from .index import Index


class IndexedManifests(ABC):
    """The reading half of `CollectedManifests`, over what a storage reads of one manifest."""

    def __init__(self, index: Index, leases: Leases) -> None:
        self._index = index
        self._leases = leases

    @abstractmethod
    def read(self, repository: str, digest: Digest) -> StoredManifest | None:
        """The manifest, verified, without counting that as a use; None also for a damaged one."""

    def get(self, repository: str, digest: Digest) -> StoredManifest | None:
        """The manifest, unless it is being collected."""
        manifest = self.read(repository, digest)
        return manifest if manifest is not None and self._leases.touch(repository, digest) else None

    def verify(self, repository: str, digest: Digest) -> bool:
        """Read the manifest without counting that as a use; False when it was damaged."""
        return self.read(repository, digest) is not None

    def touch(self, repository: str, digest: Digest) -> bool:
        """Note a pull; False when the manifest is being collected."""
        self._leases.pull(repository, digest)
        return self._leases.touch(repository, digest)

    def referrers(self, repository: str, subject: Digest) -> Sequence[StoredManifest]:
        """The manifests with the subject, sorted."""
        found: list[StoredManifest] = []
        for text in self._index.referrers(repository, subject):
            manifest = self.get(repository, Digest.parse(text))
            if manifest is not None and manifest.subject == subject:
                found.append(manifest)
        return found
