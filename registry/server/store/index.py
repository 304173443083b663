"""
The index of a registry's directory: who holds what and what refers to what, in SQLite.

Invariants: everything in it can be read again from the files, so it is never flushed; a repository is marked
as stale before its files change and until it was quiet for a while, so after the end of a process only stale
repositories are read again, and after a crash of the machine everything is. One connection, one lock, short
statements.
Governing source: https://www.sqlite.org/wal.html
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from oci_image.digest import Digest

from ...errors import StorageFull, StorageProblem
from .base import StoredManifest
from .references import read_references

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE repositories (name TEXT PRIMARY KEY, stale INTEGER NOT NULL DEFAULT 1) WITHOUT ROWID;
CREATE INDEX stale_repositories ON repositories (name) WHERE stale = 1;
CREATE TABLE manifests (
  repository TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, artifact_type TEXT NOT NULL,
  size INTEGER NOT NULL, subject TEXT, pushed REAL NOT NULL, seen REAL NOT NULL, pulled REAL,
  PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX manifests_by_subject ON manifests (repository, subject, digest) WHERE subject IS NOT NULL;
CREATE TABLE tags (
  repository TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, changed REAL NOT NULL,
  PRIMARY KEY (repository, name)) WITHOUT ROWID;
CREATE INDEX tags_by_digest ON tags (repository, digest);
CREATE TABLE links (
  repository TEXT NOT NULL, parent TEXT NOT NULL, child TEXT NOT NULL,
  PRIMARY KEY (repository, parent, child)) WITHOUT ROWID;
CREATE INDEX links_by_child ON links (repository, child);
CREATE TABLE blobs (
  repository TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, seen REAL NOT NULL,
  PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX blobs_by_digest ON blobs (digest);
"""
VERSION = 2
_FORGET = (
    "DELETE FROM manifests WHERE repository = ?",
    "DELETE FROM tags WHERE repository = ?",
    "DELETE FROM links WHERE repository = ?",
    "DELETE FROM blobs WHERE repository = ?",
)
_HOLDS = (
    "SELECT 1 FROM manifests WHERE repository = ? LIMIT 1",
    "SELECT 1 FROM blobs WHERE repository = ? LIMIT 1",
    "SELECT 1 FROM tags WHERE repository = ? LIMIT 1",
)
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


@contextmanager
def index_errors() -> Iterator[None]:
    """
    Turn errors of SQLite into those of the registry.

    Raises:
        StorageFull: no space is left.
        StorageProblem: any other error.
    """
    try:
        yield
    except sqlite3.Error as problem:
        if getattr(problem, "sqlite_errorcode", 0) & 0xFF in _FULL:
            raise StorageFull("no space is left on the storage of the registry") from problem
        raise StorageProblem("the index of the registry cannot be used") from problem


class Index:
    """
    The open index.

    Args:
        path: the file; it is created, and replaced when it is damaged or of another version.
        clock: seconds for grace periods.
        wall: seconds since the epoch.
    """

    def __init__(self, path: str, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.clock = clock
        self.wall = wall
        self._lock = threading.RLock()
        self._marked: dict[str, int] = {}
        self._altered: dict[str, int] = {}
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self.is_new = self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> bool:
        run = self._connection.execute
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=OFF")
        run("PRAGMA wal_autocheckpoint=200")
        version = int(run("PRAGMA user_version").fetchone()[0])
        if version == 0:
            self._connection.executescript(_SCHEMA + f"PRAGMA user_version={VERSION};")
        elif version != VERSION:
            raise sqlite3.DatabaseError("the index has another version")
        run("SELECT count(*) FROM meta").fetchone()
        return version == 0

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def rows(self, statement: str, *values: object) -> list[Any]:
        """The rows of a query."""
        with self._lock, index_errors():
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def changing_many(self) -> Iterator[None]:
        """One transaction around several changes."""
        with self.changing():
            yield

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, or a part of the one that this thread has begun."""
        with self._lock, index_errors():
            nested = self._connection.in_transaction
            if nested:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def meta(self, key: str) -> str:
        """A value of the index as a whole; empty when it was not set."""
        found = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return found[0][0] if found else ""

    def set_meta(self, key: str, value: str) -> None:
        """Set a value of the index as a whole."""
        with self.changing() as change:
            change.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # Stale repositories.

    @contextmanager
    def altering(self, repository: str) -> Iterator[None]:
        """Surround a change of files of the repository and of what the index says about them."""
        self.mark(repository)
        with self._lock:
            self._altered[repository] = self._altered.get(repository, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._altered[repository] -= 1
                if not self._altered[repository]:
                    del self._altered[repository]

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
            if self._marked.get(repository, 0) != changes or repository in self._altered:
                return False
            with self.changing() as change:
                change.execute("UPDATE repositories SET stale = 0 WHERE name = ?", (repository,))
            self._marked.pop(repository, None)
            return True

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

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Whether the repository has the blob."""
        statement = "SELECT 1 FROM blobs WHERE repository = ? AND digest = ?"
        return bool(self.rows(statement, repository, str(digest)))

    def is_referred(self, repository: str, digest: Digest) -> bool:
        """Whether a manifest of the repository refers to the digest."""
        statement = "SELECT 1 FROM links WHERE repository = ? AND child = ? LIMIT 1"
        return bool(self.rows(statement, repository, str(digest)))

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

    # Lists; each page costs what it holds.

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
