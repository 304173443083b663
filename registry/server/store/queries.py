"""
What the index answers: lists in pages, who holds what, what refers to what, and how much that is.

Invariant: a page costs what it holds, a sum what it adds up.
"""

from __future__ import annotations

from collections.abc import Sequence

from oci_image.digest import Digest

from .base import Totals
from .database import Database

_HOLDS = (
    "SELECT 1 FROM manifests WHERE repository = ? LIMIT 1",
    "SELECT 1 FROM blobs WHERE repository = ? LIMIT 1",
    "SELECT 1 FROM tags WHERE repository = ? LIMIT 1",
)
_TOTALS = (
    "SELECT count(*), total(size) FROM blobs WHERE repository = ?",
    "SELECT count(*), total(size) FROM manifests WHERE repository = ?",
    "SELECT count(*) FROM tags WHERE repository = ?",
)
_USAGE = (
    "SELECT count(*), total(size) FROM (SELECT max(size) AS size FROM blobs GROUP BY digest)",
    "SELECT count(*), total(size) FROM (SELECT max(size) AS size FROM manifests GROUP BY digest)",
    "SELECT count(*) FROM tags",
)


class Queries(Database):
    """Questions to the database."""

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Whether the repository has the blob."""
        statement = "SELECT 1 FROM blobs WHERE repository = ? AND digest = ?"
        return bool(self.rows(statement, repository, str(digest)))

    def is_referred(self, repository: str, digest: Digest) -> bool:
        """Whether a manifest of the repository refers to the digest."""
        statement = "SELECT 1 FROM links WHERE repository = ? AND child = ? LIMIT 1"
        return bool(self.rows(statement, repository, str(digest)))

    def tag_names(self, repository: str, after: str, limit: int) -> list[str]:
        """The tags that come after the name."""
        statement = "SELECT name FROM tags WHERE repository = ? AND name > ? ORDER BY name LIMIT ?"
        return [row[0] for row in self.rows(statement, repository, after, limit)]

    def repository_names(self, after: str, limit: int) -> list[str]:
        """The repositories with a manifest that come after the name."""
        statement = (
            "SELECT name FROM repositories AS r WHERE name > ? "
            "AND EXISTS (SELECT 1 FROM manifests WHERE repository = r.name) ORDER BY name LIMIT ?"
        )
        return [row[0] for row in self.rows(statement, after, limit)]

    def exists(self, repository: str) -> bool:
        """Whether the repository has a manifest, a tag or a blob."""
        return any(self.rows(statement, repository) for statement in _HOLDS)

    def referrers(self, repository: str, subject: Digest) -> list[str]:
        """The manifests with the subject, sorted."""
        statement = "SELECT digest FROM manifests WHERE repository = ? AND subject = ? ORDER BY digest"
        return [row[0] for row in self.rows(statement, repository, str(subject))]

    def tags_of(self, repository: str, digest: Digest) -> list[str]:
        """The tags that stand for the manifest."""
        statement = "SELECT name FROM tags WHERE repository = ? AND digest = ? ORDER BY name"
        return [row[0] for row in self.rows(statement, repository, str(digest))]

    def holders(self, digest: Digest) -> Sequence[str]:
        """The repositories that have the blob."""
        statement = "SELECT repository FROM blobs WHERE digest = ?"
        return [row[0] for row in self.rows(statement, str(digest))]

    def totals(self, repository: str) -> Totals:
        """How much the repository holds; content that other repositories have as well counts here too."""
        blobs, manifests, tags = (self.rows(statement, repository)[0] for statement in _TOTALS)
        return Totals(size=int(blobs[1] + manifests[1]), blobs=blobs[0], manifests=manifests[0], tags=tags[0])

    def usage(self) -> Totals:
        """How much all repositories hold; reads every row, and holds nobody up meanwhile."""
        with self.apart() as rows:
            blobs, manifests, tags = (rows(statement)[0] for statement in _USAGE)
        return Totals(size=int(blobs[1] + manifests[1]), blobs=blobs[0], manifests=manifests[0], tags=tags[0])

    def blob_size(self, repository: str, digest: Digest) -> int | None:
        """The size of a blob of the repository; None when it does not have it."""
        statement = "SELECT size FROM blobs WHERE repository = ? AND digest = ?"
        found = self.rows(statement, repository, str(digest))
        return found[0][0] if found else None

    def has_manifest(self, repository: str, digest: Digest) -> bool:
        """Whether the repository has the manifest."""
        statement = "SELECT 1 FROM manifests WHERE repository = ? AND digest = ?"
        return bool(self.rows(statement, repository, str(digest)))
