"""
The cache index: which earlier result may be reused under which key.

A result is stored under two keys: the step's digest (its definition) and its content key: the digest of the
same op over the contents of what it takes from other stages, and over the result of the step that it
continues, by that one's own content key and ChainID. Every key keeps its preimage, so that a miss can be
explained later. The index is only a cache: a broken one is moved aside and a new one is begun.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import InvalidDigest, StoreProblem
from oci_image.image import Layer
from oci_image.store.lock import file_lock

from .records import CacheIndex, CacheRecord, MemoryCacheIndex, is_complete

__all__ = ["CacheIndex", "CacheRecord", "MemoryCacheIndex", "SqliteCacheIndex", "is_complete"]

_T = TypeVar("_T")


_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY, layers TEXT NOT NULL, content TEXT NOT NULL, created REAL NOT NULL,
    size INTEGER NOT NULL, duration REAL NOT NULL, used REAL NOT NULL, preimage BLOB NOT NULL
) WITHOUT ROWID;
"""
_BUSY_SECONDS = 30.0


class SqliteCacheIndex:
    """
    An index in one SQLite file (write-ahead log, so readers never wait for a writer).

    The file is opened when it is first needed. Not durable against a power cut on purpose: a lost record is
    only a miss.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._used: dict[str, float] = {}

    def lookup(self, key: Digest) -> CacheRecord | None:
        """The record under a key, or None; a record that cannot be read is no record."""
        row = self._query(
            "SELECT layers, content, created, size, duration FROM records WHERE key = ?", (str(key),)
        )
        if not row:
            return None
        record = _record(*row[0])
        if record is not None:
            with self._lock:
                self._used[str(key)] = time.time()
        return record

    def store(self, keys: Sequence[tuple[Digest, bytes]], record: CacheRecord) -> None:
        """Store the record under each key, all or none."""
        layers, content = _layers_text(record.layers), str(record.content)
        cost = (record.created, record.layer_size, record.duration, record.created)
        rows = [(str(key), layers, content, *cost, preimage) for key, preimage in keys]

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

        self._with(write)

    def preimage(self, key: Digest) -> bytes | None:
        """The bytes that a key is the digest of."""
        row = self._query("SELECT preimage FROM records WHERE key = ?", (str(key),))
        return bytes(row[0][0]) if row else None

    def items(self) -> Iterator[tuple[Digest, CacheRecord, float]]:
        """Every key with its record and the time of its last use."""
        self._flush()
        rows = self._query(
            "SELECT key, used, layers, content, created, size, duration FROM records ORDER BY used", ()
        )
        for key, used, *columns in rows:
            record = _record(*columns)
            if record is not None:
                yield Digest.parse(key), record, used

    def forget(self, key: Digest) -> bool:
        """Remove a key."""

        def remove(connection: sqlite3.Connection) -> bool:
            with connection:
                return connection.execute("DELETE FROM records WHERE key = ?", (str(key),)).rowcount > 0

        with self._lock:
            self._used.pop(str(key), None)
        return self._with(remove)

    def close(self) -> None:
        """Write the times of use and close the file."""
        with self._lock:
            self._flush()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _query(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        return self._with(lambda connection: connection.execute(statement, values).fetchall())

    def _flush(self) -> None:
        with self._lock:
            used, self._used = self._used, {}
        if not used:
            return

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany(
                    "UPDATE records SET used = ? WHERE key = ?", [(when, key) for key, when in used.items()]
                )

        self._with(write)

    def _with(self, action: _Action[_T]) -> _T:
        with self._lock:
            try:
                return action(self._open())
            except sqlite3.OperationalError as problem:
                raise self._problem(problem) from problem
            except sqlite3.DatabaseError:
                self._move_aside()
            try:
                return action(self._open())
            except sqlite3.DatabaseError as problem:
                raise self._problem(problem) from problem

    def _problem(self, problem: sqlite3.Error) -> StoreProblem:
        return StoreProblem(
            f"build cache index {self._path}: {problem}",
            hint="remove the file to start with an empty cache, if the disk is neither full nor read-only",
        )

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level="IMMEDIATE"
            )
            try:
                _prepare(connection, self._path)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _move_aside(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for suffix in ("-wal", "-shm"):
            _quietly(os.unlink, self._path + suffix)
        _quietly(os.replace, self._path, f"{self._path}.broken-{time.time_ns()}")


class _Action(Protocol[_T]):  # type: ignore[misc]  # invariant on purpose: one call, one result
    def __call__(self, connection: sqlite3.Connection, /) -> _T: ...


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("PRAGMA synchronous = OFF")
    if _format(connection) == _FORMAT:
        return
    with file_lock(path + ".lock"):  # the change to write-ahead logging does not wait for other processes
        version = _format(connection)
        if version == _FORMAT:
            return
        connection.execute("PRAGMA journal_mode = WAL")
        with connection:
            if version:
                connection.execute("DROP TABLE IF EXISTS records")
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {_FORMAT}")


def _format(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


_FORMAT = 2
"""Raise it when the table changes; an index of another format is emptied."""


def _quietly(action: Any, *arguments: str) -> None:
    # Another process may have been faster; what counts is that the broken file is gone.
    try:
        action(*arguments)
    except OSError:
        return


def _layers_text(layers: tuple[Layer, ...]) -> str:
    return json.dumps(
        [
            [
                str(layer.diff_id),
                layer.descriptor.media_type,
                str(layer.descriptor.digest),
                layer.descriptor.size,
            ]
            for layer in layers
        ],
        separators=(",", ":"),
    )


def _record(layers: str, content: str, created: float, size: int, duration: float) -> CacheRecord | None:
    try:
        stack = tuple(
            Layer(
                Digest.parse(diff_id),
                Descriptor(media_type=media_type, digest=Digest.parse(digest), size=int(length)),
            )
            for diff_id, media_type, digest, length in json.loads(layers)
        )
        key = Digest.parse(content)
    except (ValueError, TypeError, LookupError, InvalidDigest):
        return None
    return CacheRecord(layers=stack, content=key, created=created, layer_size=size, duration=duration)
