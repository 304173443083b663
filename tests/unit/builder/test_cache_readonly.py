"""The cache index where nothing can be written."""

import sqlite3
import time
from contextlib import closing

import pytest

from builder.caching.cache import CacheRecord, SqliteCacheIndex
from oci_image.digest import Digest
from oci_image.errors import StoreProblem

KEY, OTHER = Digest.of(b"key"), Digest.of(b"other")
RECORD = CacheRecord(layers=(), content=KEY, created=time.time(), layer_size=0, duration=0.0)


class Full(SqliteCacheIndex):
    """An index whose disk is full: the first use of a connection fails as SQLite's does then."""

    def _open(self):
        if not self._is_readonly:
            problem = sqlite3.OperationalError("disk I/O error")
            problem.sqlite_errorcode = sqlite3.SQLITE_IOERR | 19 << 8
            raise problem
        return super()._open()


def test_what_is_there_is_found(tmp_path):
    """Lookups work; what would be remembered is not, without an error; a removal that fails says so."""
    path = str(tmp_path / "cache.db")
    with closing(SqliteCacheIndex(path)) as index:
        index.store([(KEY, b"preimage")], RECORD)
    with closing(Full(path)) as full:
        assert full.lookup(KEY) == RECORD
        assert full.preimage(KEY) == b"preimage"
        full.store([(OTHER, b"x")], RECORD)
        assert full.lookup(OTHER) is None
        with pytest.raises(StoreProblem):
            full.forget(KEY)
    with closing(SqliteCacheIndex(path)) as index:
        assert index.lookup(KEY) == RECORD
        assert index.lookup(OTHER) is None


def test_no_file_is_an_empty_index(tmp_path):
    """A store that never cached anything has no hits, and no file afterwards."""
    with closing(Full(str(tmp_path / "cache.db"))) as full:
        assert full.lookup(KEY) is None
        assert list(full.items()) == []
    assert list(tmp_path.iterdir()) == []


def test_an_index_of_another_format_is_empty(tmp_path):
    """It is not read as if it were ours."""
    path = tmp_path / "cache.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE records (key TEXT)")
        connection.execute("PRAGMA user_version = 1")
    with closing(Full(str(path))) as full:
        assert full.lookup(KEY) is None
