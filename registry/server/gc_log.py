"""
What was collected, when and why, and the files that can still be brought back.

Invariants: a deletion is recorded durably before its file moves; the record outlives the file. It is the only
database of a registry that cannot be made again from other files, so it is flushed.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from oci_image.digest import Digest

from .store.database import index_errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS deletions (
  id INTEGER PRIMARY KEY, run TEXT NOT NULL, wall REAL NOT NULL, steady REAL NOT NULL, kind TEXT NOT NULL,
  repository TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, reason TEXT NOT NULL,
  file TEXT NOT NULL, state TEXT NOT NULL, tag TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS deletions_by_digest ON deletions (digest);
CREATE INDEX IF NOT EXISTS deletions_in_trash ON deletions (steady) WHERE state = 'kept';
"""
_INSERT = (
    "INSERT INTO deletions (run, wall, steady, kind, repository, digest, size, reason, file, state, tag) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_CACHE = 256  # KiB; rows are written once and hardly ever read
_COLUMNS = "id, run, wall, steady, kind, repository, digest, size, reason, file, state, tag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """
    One thing that a collection removes.

    Attributes:
        kind: ``tag``, ``manifest``, ``blob`` (of a repository), or ``content`` (the bytes of them all).
        repository: empty for content.
        digest: what goes, or what the tag stood for.
        size: its bytes.
        reason: why nothing needs it.
        tag: its name; empty for everything else.
    """

    kind: str
    repository: str
    digest: Digest
    size: int
    reason: str
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A row; `state` is ``kept``, ``restored``, ``spared`` (it stayed), ``purged``; of tags ``removed``."""

    number: int
    run: str
    wall: float
    deletion: Deletion
    path: str
    state: str


class DeletionLog:
    """
    The log of a registry.

    Args:
        path: its file; it is created.
        trash: what the places of collected things begin with.
    """

    def __init__(self, path: str, trash: str) -> None:
        self._trash = trash
        self._lock = threading.RLock()
        with index_errors():
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(f"PRAGMA cache_size=-{_CACHE}")
            self._connection.executescript(_SCHEMA)
            columns = {row[1] for row in self._connection.execute("PRAGMA table_info(deletions)")}
            if "tag" not in columns:  # a log of the first version
                self._connection.execute("ALTER TABLE deletions ADD COLUMN tag TEXT NOT NULL DEFAULT ''")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, index_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def record(self, run: str, deletions: Sequence[Deletion], wall: float, steady: float) -> list[Record]:
        """Write down what is about to go; the records say where its files are to be put."""
        made = []
        with self._changing() as change:
            for item in deletions:
                name = uuid.uuid4().hex
                row = (
                    run,
                    wall,
                    steady,
                    item.kind,
                    item.repository,
                    str(item.digest),
                    item.size,
                    item.reason,
                )
                number = change.execute(_INSERT, (*row, name, "kept", item.tag)).lastrowid
                path = f"{self._trash}/{name}"
                made.append(
                    Record(number=number or 0, run=run, wall=wall, deletion=item, path=path, state="kept")
                )
        return made

    def insert(self, rows: Sequence[tuple[object, ...]]) -> None:
        """Take up rows of an earlier log, whose columns are those of the table without the first one."""
        with self._changing() as change:
            change.executemany(_INSERT, rows)

    def last(self) -> int:
        """The number of the last record; 0 for none."""
        with self._lock, index_errors():
            return int(self._connection.execute("SELECT max(id) FROM deletions").fetchone()[0] or 0)

    def following(self, number: int, count: int) -> list[Record]:
        """The next records after the one with this number, the first one first."""
        return self._select("WHERE id > ? ORDER BY id LIMIT ?", number, count)

    def is_empty(self) -> bool:
        """Whether nothing was ever deleted."""
        return not self._select("LIMIT 1")

    def set_state(self, numbers: Sequence[int], state: str) -> None:
        """Say what became of some deletions."""
        with self._changing() as change:
            change.executemany("UPDATE deletions SET state = ? WHERE id = ?", [(state, n) for n in numbers])

    def of_digest(self, digest: Digest) -> list[Record]:
        """All deletions of the digest, the last one first."""
        return self._select("WHERE digest = ? ORDER BY id DESC", str(digest))

    def of_run(self, run: str, repository: str) -> list[Record]:
        """What one collection removed from one repository and is still kept."""
        return self._select("WHERE run = ? AND repository = ? AND state = 'kept'", run, repository)

    def _select(self, condition: str, *values: object) -> list[Record]:
        with self._lock, index_errors():
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM deletions {condition}",  # noqa: S608 - both are constants
                values,
            ).fetchall()
        return [
            Record(
                number=row[0],
                run=row[1],
                wall=row[2],
                deletion=Deletion(
                    kind=row[4],
                    repository=row[5],
                    digest=Digest.parse(row[6]),
                    size=row[7],
                    reason=row[8],
                    tag=row[11],
                ),
                path=f"{self._trash}/{row[9]}",
                state=row[10],
            )
            for row in rows
        ]

    def kept_before(self, before: float) -> list[Record]:
        """What was collected before a time of the steady clock and can still be brought back."""
        return self._select("WHERE state = 'kept' AND steady <= ?", before)
