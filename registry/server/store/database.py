"""
The database of the index: its tables, its connection, its transactions.

Invariants: everything in it can be read again from the storage, so it is never flushed; one connection, one
lock, short statements.
Governing source: https://www.sqlite.org/wal.html
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import StorageFull, StorageProblem

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
_CACHE = 2048  # KiB of pages in memory
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


class Database:
    """
    The open database.

    Args:
        path: the file; it is created.

    Raises:
        sqlite3.DatabaseError: the file is damaged or of another version.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
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
        run(f"PRAGMA cache_size=-{_CACHE}")
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
    def apart(self) -> Iterator[Callable[[str], list[Any]]]:
        """Long questions, over a connection of their own: the lock is not held meanwhile."""
        with index_errors():
            connection = sqlite3.connect(self._path, isolation_level=None)
            try:
                connection.execute("PRAGMA query_only=ON")
                yield lambda statement: connection.execute(statement).fetchall()
            finally:
                connection.close()

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
