"""
Notes: what this machine has learnt about blobs and would have to find out again.

Three things: in which compressed forms a layer exists, which repositories of registries hold a blob, and when
a blob was last used. Invariant: notes are only a cache. Losing them costs time, never content, so a file that
is damaged is moved aside and begun anew. Several processes and threads may use one file.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Self, TypeVar

from ..descriptor import Descriptor
from ..digest import Digest
from ..errors import InvalidDigest, InvalidDocument, StoreProblem
from .lock import file_lock

AS_PULLED = "pulled"
"""The encoder id of forms that somebody else compressed."""

_VERSION = 1
_SCHEMA = f"""
CREATE TABLE variants (
    diff_id TEXT NOT NULL, encoder TEXT NOT NULL, digest TEXT NOT NULL, descriptor TEXT NOT NULL,
    PRIMARY KEY (diff_id, encoder, digest)
) WITHOUT ROWID;
CREATE INDEX variants_by_digest ON variants (digest);
CREATE TABLE sources (
    digest TEXT NOT NULL, location TEXT NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (digest, location)
) WITHOUT ROWID;
CREATE TABLE used (digest TEXT PRIMARY KEY, stamp INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""
_WAIT = 30.0

ResultT = TypeVar("ResultT")


class Notes:
    """
    Notes in a SQLite file, which is opened at the first use; ``:memory:`` keeps them in memory.

    Close it, or use it in a ``with`` block; it opens again when it is used after that.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._file: int | None = None

    def variant(self, diff_id: Digest, encoder_id: str) -> Descriptor | None:
        """The compressed form of a layer that this encoder gave."""
        rows = self._query(
            "SELECT descriptor FROM variants WHERE diff_id = ? AND encoder = ? ORDER BY digest LIMIT 1",
            (str(diff_id), encoder_id),
        )
        return next(iter(_descriptors(rows)), None)

    def variants(self, diff_id: Digest) -> tuple[Descriptor, ...]:
        """Every known compressed form of a layer; they need not be in a store."""
        rows = self._query(
            "SELECT descriptor FROM variants WHERE diff_id = ? ORDER BY encoder, digest", (str(diff_id),)
        )
        return tuple(_descriptors(rows))

    def remember_variant(self, diff_id: Digest, encoder_id: str, descriptor: Descriptor) -> None:
        """Note a compressed form of a layer; one of the same encoder takes the place of an earlier one."""

        def write(connection: sqlite3.Connection) -> None:
            if encoder_id != AS_PULLED:
                connection.execute(
                    "DELETE FROM variants WHERE diff_id = ? AND encoder = ?", (str(diff_id), encoder_id)
                )
            connection.execute(
                "INSERT OR REPLACE INTO variants VALUES (?, ?, ?, ?)",
                (str(diff_id), encoder_id, str(descriptor.digest), json.dumps(descriptor.to_json())),
            )

        self._run(write)

    def diff_id_of(self, compressed: Digest) -> Digest | None:
        """The diff_id of the layer whose compressed form has this digest."""
        rows = self._query("SELECT diff_id FROM variants WHERE digest = ? LIMIT 1", (str(compressed),))
        with suppress(InvalidDigest):
            return Digest.parse(rows[0][0]) if rows else None
        return None

    def sources(self, digest: Digest) -> tuple[str, ...]:
        """Repositories that hold the blob, as ``registry/repository``, the one noted last first."""
        rows = self._query(
            "SELECT location FROM sources WHERE digest = ? ORDER BY number DESC", (str(digest),)
        )
        return tuple(row[0] for row in rows)

    def remember_source(self, digest: Digest, location: str) -> None:
        """Note that a repository (``registry/repository``) holds the blob."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO sources "
                "SELECT ?1, ?2, coalesce(max(number), 0) + 1 FROM sources WHERE digest = ?1",
                (str(digest), location),
            )

        self._run(write)

    def forget_source(self, digest: Digest, location: str) -> None:
        """Note that the repository does not hold the blob any more."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM sources WHERE digest = ? AND location = ?", (str(digest), location)
            )

        self._run(write)

    def mark_used(self, digests: Iterable[Digest], stamp: int) -> None:
        """Note that the blobs were used at that time (seconds since 1970); an older stamp changes nothing."""
        rows = [(str(digest), stamp) for digest in digests]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO used VALUES (?, ?) "
                "ON CONFLICT (digest) DO UPDATE SET stamp = max(stamp, excluded.stamp)",
                rows,
            )

        self._run(write)

    def last_used(self, digest: Digest) -> int | None:
        """When the blob was last used, None when that was not noted."""
        rows = self._query("SELECT stamp FROM used WHERE digest = ?", (str(digest),))
        return int(rows[0][0]) if rows else None

    def forget_used(self, digests: Iterable[Digest]) -> None:
        """Drop the stamps of blobs that were removed."""
        rows = [(str(digest),) for digest in digests]
        self._run(lambda connection: connection.executemany("DELETE FROM used WHERE digest = ?", rows))

    def close(self) -> None:
        """Close the file; what was noted is there already."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._process == os.getpid():
                connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_connection"):
            self.close()

    def _query(self, statement: str, values: Sequence[object]) -> list[Any]:
        return self._run(lambda connection: connection.execute(statement, values).fetchall())

    def _run(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        with self._lock:
            for attempt in (1, 2):
                try:
                    connection = self._open()
                    with connection:
                        return work(connection)
                except sqlite3.DatabaseError as problem:
                    if attempt == 2 or not _is_damage(problem):
                        raise StoreProblem(f"{self.path}: cannot use the notes: {problem}") from problem
                    self._move_aside()
        raise AssertionError("unreachable")

    def _open(self) -> sqlite3.Connection:
        # A connection does not survive a fork; the parent's must not even be closed here.
        if self._connection is None or self._process != os.getpid():
            self._process = os.getpid()
            if self.path == ":memory:":
                self._connection = _connect(self.path)
            else:
                # Changing to the write-ahead log takes a lock for which SQLite does not wait.
                with file_lock(f"{self.path}.lock"):
                    self._file = _inode(self.path)
                    self._connection = _connect(self.path)
                    self._file = _inode(self.path)
        return self._connection

    def _move_aside(self) -> None:
        self.close()
        if self.path == ":memory:":
            return
        with file_lock(f"{self.path}.lock"):
            if _inode(self.path) != self._file:
                return  # another process was first
            for suffix in ("-wal", "-shm"):
                with suppress(OSError):
                    os.unlink(self.path + suffix)
            with suppress(OSError):
                os.replace(self.path, f"{self.path}.damaged")


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT, check_same_thread=False)
    try:
        _set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        connection.executescript(_SCHEMA)
    elif version != _VERSION:
        raise sqlite3.DatabaseError(f"schema version {version} instead of {_VERSION}")


def _is_damage(problem: sqlite3.DatabaseError) -> bool:
    """Whether the file is to blame, and not a lock, the disk or a permission."""
    if not isinstance(problem, sqlite3.OperationalError):
        return True
    return problem.sqlite_errorcode == sqlite3.SQLITE_ERROR  # a table or column that should be there is not


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _descriptors(rows: list[Any]) -> Iterable[Descriptor]:
    for (text,) in rows:
        with suppress(ValueError, InvalidDocument):
            yield Descriptor.from_json(json.loads(text), "notes")
