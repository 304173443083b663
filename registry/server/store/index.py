"""
The index of a registry's storage: who holds what and what refers to what, in SQLite.

Invariants: a repository is marked as stale before its files change and until it was quiet for a while, so
after the end of a process only stale repositories are read again, and after a crash of the machine everything
is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from oci_image.digest import Digest

from ...errors import StorageProblem
from .base import StoredManifest
from .queries import Queries
from .references import read_references

_FORGET = (
    "DELETE FROM manifests WHERE repository = ?",
    "DELETE FROM tags WHERE repository = ?",
    "DELETE FROM links WHERE repository = ?",
    "DELETE FROM blobs WHERE repository = ?",
)


class Index(Queries):
    """
    The open index.

    Args:
        path: the file; it is created.
        clock: seconds for grace periods.
        wall: seconds since the epoch.

    Raises:
        sqlite3.DatabaseError: the file is damaged or of another version.
    """

    def __init__(self, path: str, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        super().__init__(path)
        self.clock = clock
        self.wall = wall
        self._marked: dict[str, int] = {}
        self._altered: dict[str, int] = {}
        self._doubtful: set[str] = set()

    # Stale repositories.

    @contextmanager
    def altering(self, repository: str) -> Iterator[None]:
        """
        Surround a change of files of the repository and of what the index says about them.

        When it fails in between, the two may differ until the repository is read again.
        """
        with self._lock:
            self.mark(repository)
            self._altered[repository] = self._altered.get(repository, 0) + 1
        try:
            yield
        except (OSError, StorageProblem):
            self.doubt(repository)
            raise
        finally:
            with self._lock:
                self._altered[repository] -= 1
                if not self._altered[repository]:
                    del self._altered[repository]

    def doubt(self, repository: str) -> None:
        """Say that the index may be wrong about a repository, which is stale until it was read again."""
        with self._lock:
            self._doubtful.add(repository)

    def take_doubt(self, repository: str) -> bool:
        """Whether the index may be wrong about the repository; who asks reads it again."""
        with self._lock:
            found = repository in self._doubtful
            self._doubtful.discard(repository)
            return found

    def mark(self, repository: str) -> None:
        """Say that files of the repository are about to change."""
        with self._lock:
            known = self._marked.get(repository)
            self._marked[repository] = (known or 0) + 1
            if known is not None:
                return
            with self.changing() as change:
                change.execute(
                    "INSERT INTO repositories (name) VALUES (?) ON CONFLICT (name) DO UPDATE SET stale = 1",
                    (repository,),
                )

    def add_repository(self, repository: str) -> None:
        """Know the name of a repository, which is as the index says unless it was marked."""
        with self.changing() as change:
            change.execute("INSERT OR IGNORE INTO repositories VALUES (?, 0)", (repository,))

    def changes(self, repository: str) -> int:
        """A number that grows with each change of a stale repository."""
        with self._lock:
            return self._marked.get(repository, 0)

    def stale(self) -> list[str]:
        """The repositories whose files changed since they were settled."""
        return [row[0] for row in self.rows("SELECT name FROM repositories WHERE stale = 1 ORDER BY name")]

    def settle(self, repository: str, changes: int) -> bool:
        """Take the mark away unless the repository changed again."""
        with self._lock:
            if self._is_changing(repository, changes):
                return False
            with self.changing() as change:
                change.execute("UPDATE repositories SET stale = 0 WHERE name = ?", (repository,))
            self._marked.pop(repository, None)
            return True

    def vacate(self, repository: str, changes: int, take_away: Callable[[], None]) -> bool:
        """
        Forget a repository that has nothing; False when it has something or changed again.

        Args:
            repository: its name.
            changes: as for `settle`.
            take_away: removes its files, quickly: nobody can alter any repository meanwhile.
        """
        with self._lock:
            if self._is_changing(repository, changes) or self.exists(repository):
                return False
            take_away()
            self.remove(repository)
            return True

    def _is_changing(self, repository: str, changes: int) -> bool:
        return (
            self._marked.get(repository, 0) != changes
            or repository in self._altered
            or repository in self._doubtful
        )

    # Changes; the repository was marked.

    def put_manifest(
        self, repository: str, manifest: StoredManifest, tags: Iterable[str] = (), pushed: float | None = None
    ) -> None:
        """Note a manifest, what it refers to, and its tags."""
        now = self.wall() if pushed is None else pushed
        digest = str(manifest.digest)
        references = read_references(manifest.raw)
        children = {str(item) for item in (*references.blobs, *references.manifests)}
        with self.changing() as change:
            change.execute(
                "INSERT INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL) "
                "ON CONFLICT (repository, digest) DO UPDATE SET media_type = excluded.media_type, "
                "artifact_type = excluded.artifact_type, "
                "subject = excluded.subject, pushed = excluded.pushed, seen = excluded.seen",
                (
                    repository,
                    digest,
                    manifest.descriptor.media_type,
                    manifest.descriptor.artifact_type,
                    manifest.descriptor.size,
                    None if manifest.subject is None else str(manifest.subject),
                    now,
                    self.clock(),
                ),
            )
            change.executemany(
                "INSERT OR IGNORE INTO links VALUES (?, ?, ?)",
                [(repository, digest, child) for child in children],
            )
            change.executemany(
                "INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?)",
                [(repository, tag, digest, now) for tag in tags],
            )

    def set_tag(self, repository: str, tag: str, digest: Digest, changed: float) -> None:
        """Note a tag by itself."""
        with self.changing() as change:
            row = (repository, tag, str(digest), changed)
            change.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?)", row)

    def delete_manifest(self, repository: str, digest: Digest, *, tags: bool = True) -> None:
        """Forget a manifest and its tags; without them, what it refers to stays needed until a repair."""
        row = (repository, str(digest))
        with self.changing() as change:
            change.execute("DELETE FROM manifests WHERE repository = ? AND digest = ?", row)
            if tags:
                change.execute("DELETE FROM links WHERE repository = ? AND parent = ?", row)
                change.execute("DELETE FROM tags WHERE repository = ? AND digest = ?", row)

    def delete_tag(self, repository: str, tag: str) -> None:
        """Forget a tag."""
        with self.changing() as change:
            change.execute(
                "DELETE FROM tags WHERE repository = ? AND name = ?",
                (repository, tag),
            )

    def put_blob(self, repository: str, digest: Digest, size: int) -> None:
        """Note that the repository has a blob."""
        with self.changing() as change:
            row = (repository, str(digest), size, self.clock())
            change.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?)", row)

    def put_blobs(self, repository: str, sizes: Mapping[Digest, int]) -> None:
        """Note that the repository has many blobs."""
        now = self.clock()
        with self.changing() as change:
            change.executemany(
                "INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?)",
                [(repository, str(digest), size, now) for digest, size in sizes.items()],
            )

    def delete_blob(self, repository: str, digest: Digest) -> None:
        """Note that the repository does not have a blob any more."""
        with self.changing() as change:
            change.execute(
                "DELETE FROM blobs WHERE repository = ? AND digest = ?",
                (repository, str(digest)),
            )

    def note_uses(
        self,
        used: Mapping[tuple[str, Digest], float],
        pulled: Mapping[tuple[str, Digest], tuple[float, float]],
    ) -> None:
        """Write a batch of uses of blobs, and of pulls of manifests."""
        with self.changing() as change:
            change.executemany(
                "UPDATE blobs SET seen = max(seen, ?) WHERE repository = ? AND digest = ?",
                [(when, repository, str(digest)) for (repository, digest), when in used.items()],
            )
            change.executemany(
                "UPDATE manifests SET seen = max(seen, ?) WHERE repository = ? AND digest = ?",
                [(when, repository, str(digest)) for (repository, digest), when in used.items()],
            )
            change.executemany(
                "UPDATE manifests SET seen = max(seen, ?), pulled = ? WHERE repository = ? AND digest = ?",
                [(*when, repository, str(digest)) for (repository, digest), when in pulled.items()],
            )

    def set_pulled(self, repository: str, digest: str, when: float) -> None:
        """Note when a manifest was pulled last."""
        with self.changing() as change:
            change.execute(
                "UPDATE manifests SET pulled = ? WHERE repository = ? AND digest = ?",
                (when, repository, digest),
            )

    def forget_manifests(self, repository: str) -> None:
        """Forget the manifests and tags of a repository."""
        with self.changing() as change:
            for statement in _FORGET[:3]:
                change.execute(statement, (repository,))

    def forget(self, repository: str) -> None:
        """Forget everything about a repository but its name."""
        with self.changing() as change:
            for statement in _FORGET:
                change.execute(statement, (repository,))

    def remove(self, repository: str) -> None:
        """Forget a repository whose directory is gone."""
        with self._lock:
            self.forget(repository)
            with self.changing() as change:
                change.execute("DELETE FROM repositories WHERE name = ?", (repository,))
            self._marked.pop(repository, None)
