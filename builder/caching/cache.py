"""
The cache index: which earlier result may be reused under which key.

A result is stored under two keys: the step's digest (its definition) and its content key: the digest of the
same op over the contents of what it takes from other stages, and over the result of the step that it
continues, by that one's own content key and ChainID. Every key keeps its preimage, so that a miss can be
explained later. The index is only a cache: a broken one is moved aside and a new one is begun.
"""

from __future__ import annotations

import contextlib
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
    only a miss. So where nothing can be written (a full or read-only disk) what is there is read, and what
    should be remembered is not.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._used: dict[str, float] = {}
        self._is_readonly = False

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

        self._write(write)

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

        self._write(write)

    def _write(self, action: _Action[None]) -> None:
        """Write what may as well be lost."""
        with self._lock:
            try:
                if not self._is_readonly:
                    self._with(action)
            except StoreProblem as problem:
                if not _has_no_space(problem.__cause__, self._path):
                    raise

    def _with(self, action: _Action[_T]) -> _T:
        with self._lock:
            try:
                return action(self._open())
            except sqlite3.OperationalError as problem:
                if self._is_readonly or not _has_no_space(problem, self._path):
                    raise self._problem(problem) from problem
                self._open_readonly(problem)
                try:
                    return action(self._open())
                except sqlite3.OperationalError:
                    raise self._problem(problem) from problem  # it was to write
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

    def _open_readonly(self, problem: sqlite3.OperationalError) -> None:
        """Go on with what the file holds without any file beside it, for which there is no space."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        try:
            self._connection = _readable(self._path)
        except sqlite3.DatabaseError:
            raise self._problem(problem) from problem
        self._is_readonly = True

    def _move_aside(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for suffix in ("-wal", "-shm"):
            _quietly(os.unlink, self._path + suffix)
        _quietly(os.replace, self._path, f"{self._path}.broken-{time.time_ns()}")


class _Action(Protocol[_T]):  # type: ignore[misc]  # invariant on purpose: one call, one result
    def __call__(self, connection: sqlite3.Connection, /) -> _T: ...


def _readable(path: str) -> sqlite3.Connection:
    """The records of a file that is taken as it is, without its log; none where there is no file."""
    if not os.path.exists(path):
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        connection.execute(_SCHEMA)
        return connection
    from urllib.parse import quote

    address = f"file:{quote(os.path.abspath(path))}?mode=ro&immutable=1"
    connection = sqlite3.connect(address, uri=True, check_same_thread=False)
    try:
        is_ours = _format(connection) == _FORMAT
    except BaseException:
        connection.close()
        raise
    if is_ours:
        return connection
    connection.close()
    return _readable("")  # an index of another format holds nothing


def _has_no_space(problem: BaseException | None, path: str) -> bool:
    """Whether SQLite could not write, or (beside a file that is there) not open what it writes."""
    code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_CANTOPEN:
        return os.path.isfile(path)
    return code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)


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
