"""
When each tag of an upstream was checked last, in SQLite, so that a restart does not ask for everything again.

Invariants: it only spares questions and tells tags of an upstream from those that were pushed here; without
it every tag is asked for once more, so a damaged file is made again. Times are of the wall clock, and one in
the future counts as long ago.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oci_image.digest import Digest

from ...errors import InvalidConfiguration

_LOG = logging.getLogger(__name__)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tags (
  repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, etag TEXT NOT NULL,
  checked REAL NOT NULL, PRIMARY KEY (repository, tag)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What an upstream said about a tag, and when."""

    digest: Digest
    etag: str
    checked: float


class Records:
    """
    The records of all mirrors of one registry.

    Args:
        path: the database; ``:memory:`` for one that ends with the process.
        wall: seconds since the epoch.

    Raises:
        InvalidConfiguration: the file cannot be used.
    """

    def __init__(self, path: str, wall: Callable[[], float]) -> None:
        self.wall = wall
        self._lock = threading.Lock()
        try:
            self._database = _open(path)
        except sqlite3.DatabaseError as problem:
            _LOG.warning("the records of mirrors are made again: %s", problem)
            for name in (path, f"{path}-wal", f"{path}-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)
            try:
                self._database = _open(path)
            except sqlite3.Error as again:
                raise InvalidConfiguration(f"the records of mirrors cannot be used: {again}") from again

    def get(self, repository: str, tag: str) -> Record | None:
        """The record of a tag."""
        statement = "SELECT digest, etag, checked FROM tags WHERE repository = ? AND tag = ?"
        row = self._run(statement, repository, tag)
        return None if row is None else Record(digest=Digest.parse(row[0]), etag=row[1], checked=row[2])

    def put(self, repository: str, tag: str, digest: Digest, etag: str) -> Record:
        """Note that a tag was checked just now."""
        record = Record(digest=digest, etag=etag, checked=self.wall())
        statement = "INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?, ?)"
        self._run(statement, repository, tag, str(digest), etag, record.checked)
        return record

    def remove(self, repository: str, tag: str) -> None:
        """Forget a tag."""
        self._run("DELETE FROM tags WHERE repository = ? AND tag = ?", repository, tag)

    def _run(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        try:
            with self._lock:
                row: tuple[Any, ...] | None = self._database.execute(statement, values).fetchone()
        except sqlite3.Error as problem:  # nothing depends on a record
            _LOG.warning("the records of mirrors cannot be used: %s", problem)
            return None
        return row

    def age(self, record: Record) -> float:
        """Seconds since the tag was checked."""
        age = self.wall() - record.checked
        return age if age >= 0 else float("inf")

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._database.close()


def _open(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=OFF")
        database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database
