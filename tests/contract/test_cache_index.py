"""The contract of cache indexes."""

import sqlite3
import subprocess
import sys
import threading

import pytest

from builder.caching.cache import CacheRecord, MemoryCacheIndex, SqliteCacheIndex, is_complete
from builder.leases import Lease, LeasingIndex
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import StoreProblem
from oci_image.image import Layer
from oci_image.store.memory import MemoryBlobStore


def _key(text):
    return Digest.of(text.encode())


def _record(text="x", created=1.0):
    digest = _key(text)
    layer = Layer(digest, Descriptor(media_type="application/x", digest=digest, size=len(text)))
    return CacheRecord(layers=(layer,), content=_key("content"), created=created, layer_size=7, duration=0.5)


INDEXES = {
    "memory": lambda _: MemoryCacheIndex(),
    "sqlite": lambda folder: SqliteCacheIndex(str(folder / "a" / "cache.db")),
    "leasing": lambda folder: LeasingIndex(MemoryCacheIndex(), Lease(str(folder))),
}


@pytest.fixture(params=INDEXES)
def index(request, tmp_path):
    made = INDEXES[request.param](tmp_path)
    yield made
    made.close()


def test_what_was_stored_is_found_under_each_key(index):
    """One record serves several keys, each with its own preimage."""
    record = _record()
    index.store([(_key("one"), b"one"), (_key("two"), b"two")], record)
    assert index.lookup(_key("one")) == record
    assert index.lookup(_key("two")) == record
    assert index.preimage(_key("two")) == b"two"
    assert record.snapshot.layers == record.layers


def test_an_unknown_key_gives_nothing(index):
    """Absence is no error."""
    assert index.lookup(_key("?")) is None
    assert index.preimage(_key("?")) is None
    assert index.forget(_key("?")) is False
    assert list(index.items()) == []


def test_a_later_record_replaces_an_earlier_one(index):
    """The newest result counts."""
    index.store([(_key("k"), b"k")], _record("old"))
    index.store([(_key("k"), b"k")], _record("new"))
    assert index.lookup(_key("k")) == _record("new")
    assert len(list(index.items())) == 1


def test_forgotten_keys_are_gone(index):
    """Forgetting removes record and preimage."""
    index.store([(_key("k"), b"k")], _record())
    assert index.forget(_key("k")) is True
    assert index.lookup(_key("k")) is None
    assert index.preimage(_key("k")) is None


def test_items_come_least_recently_used_first(index):
    """A lookup makes a record younger."""
    index.store([(_key("a"), b"a")], _record("a", created=1.0))
    index.store([(_key("b"), b"b")], _record("b", created=2.0))
    assert [key for key, _, _ in index.items()] == [_key("a"), _key("b")]
    assert index.lookup(_key("a")) is not None
    assert [key for key, _, _ in index.items()] == [_key("b"), _key("a")]


def test_closing_twice_is_harmless(index):
    """Close is idempotent."""
    index.store([(_key("k"), b"k")], _record())
    index.close()
    index.close()


def test_a_record_outlives_the_process(tmp_path):
    """Another index on the same file sees the record and the time of its last use."""
    path = str(tmp_path / "cache.db")
    first = SqliteCacheIndex(path)
    first.store([(_key("k"), b"preimage")], _record(created=5.0))
    assert first.lookup(_key("k")) is not None
    first.close()
    second = SqliteCacheIndex(path)
    assert second.lookup(_key("k")) == _record(created=5.0)
    assert second.preimage(_key("k")) == b"preimage"
    (_, _, used), *_ = second.items()
    assert used > 1_000_000
    second.close()


def test_a_broken_file_is_moved_aside(tmp_path):
    """A build goes on with an empty cache; the broken file stays for whoever wants to look at it."""
    path = tmp_path / "cache.db"
    path.write_bytes(b"this is no database" * 1000)
    index = SqliteCacheIndex(str(path))
    assert index.lookup(_key("k")) is None
    index.store([(_key("k"), b"k")], _record())
    assert index.lookup(_key("k")) == _record()
    index.close()
    assert [found.name.startswith("cache.db.broken-") for found in tmp_path.glob("*broken*")] == [True]


def test_a_file_that_breaks_meanwhile_is_moved_aside(tmp_path):
    """Damage behind the header is noticed at the query."""
    path = tmp_path / "cache.db"
    index = SqliteCacheIndex(str(path))
    index.store([(_key(str(number)), b"x" * 3000) for number in range(50)], _record())
    index.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    index = SqliteCacheIndex(str(path))
    assert index.lookup(_key("1")) is None
    index.store([(_key("k"), b"k")], _record())
    assert index.lookup(_key("k")) is not None
    index.close()


def test_an_index_of_another_format_is_emptied(tmp_path):
    """A table that another version made is not misread."""
    path = str(tmp_path / "cache.db")
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE records (something)")
    other.execute("PRAGMA user_version = 99")
    other.close()
    index = SqliteCacheIndex(path)
    assert index.lookup(_key("k")) is None
    index.store([(_key("k"), b"k")], _record())
    assert index.lookup(_key("k")) is not None
    index.close()


def test_a_record_that_cannot_be_read_is_none(tmp_path):
    """Nonsense in a row is a miss."""
    path = str(tmp_path / "cache.db")
    index = SqliteCacheIndex(path)
    index.store([(_key("k"), b"k")], _record())
    index.close()
    other = sqlite3.connect(path)
    other.execute("UPDATE records SET layers = '[[1]]'")
    other.commit()
    other.close()
    index = SqliteCacheIndex(path)
    assert index.lookup(_key("k")) is None
    assert list(index.items()) == []
    index.close()


def test_a_place_that_cannot_be_written_is_a_store_problem(tmp_path):
    """The message names the file."""
    path = tmp_path / "cache.db"
    path.mkdir()
    index = SqliteCacheIndex(str(path))
    with pytest.raises(StoreProblem, match=r"cache\.db"):
        index.store([(_key("k"), b"k")], _record())
    index.close()


_WRITER = """
import sys
from builder.caching.cache import CacheRecord, SqliteCacheIndex
from oci_image.digest import Digest
index = SqliteCacheIndex(sys.argv[1])
for number in range(100):
    key = Digest.of(f"{sys.argv[2]}-{number}".encode())
    index.store([(key, b"p")], CacheRecord(layers=(), content=key, created=1.0, layer_size=0, duration=0.0))
    assert index.lookup(key) is not None
index.close()
"""


def test_several_processes_write_at_once(tmp_path):
    """Nothing is lost, and nobody fails, also while the file is being made."""
    path = str(tmp_path / "cache.db")
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, path, name]) for name in "abc"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    index = SqliteCacheIndex(path)
    assert len(list(index.items())) == 300
    index.close()


def test_threads_may_share_an_index(index):
    """Stores from several threads all arrive."""

    def work(name):
        for number in range(30):
            index.store([(_key(f"{name}{number}"), b"p")], _record())

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(index.items())) == 90


def test_a_record_is_complete_with_its_own_layers():
    """Layers of the base may be elsewhere; all others must be here."""
    blobs = MemoryBlobStore()
    record = _record("absent")
    assert not is_complete(record, blobs, given=0)
    assert is_complete(record, blobs, given=1)
