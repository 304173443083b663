"""The stat cache."""

import os
import time

import pytest

from builder.statcache import RECORD_SIZE, STAMP, StatCache, stamp_of
from oci_image.digest import Digest

OLD = 1_000_000_000 * 10**9
LATER = 2_000_000_000 * 10**9


def record(size=1, mtime=OLD, ctime=OLD, inode=7, mode=0o100644, content=b"x"):
    return STAMP.pack(size, mtime, ctime, inode, mode) + bytes.fromhex(Digest.of(content).hex)


@pytest.fixture
def cache(tmp_path):
    return StatCache(str(tmp_path / "stats"))


def test_what_was_saved_is_loaded(cache, tmp_path):
    """Records and attributes should come back for the same root, and for no other."""
    table = cache.load(str(tmp_path))
    assert table.records == {}
    table.remember("a/b", record(), (), read_at=LATER)
    table.remember("c", record(size=2**62), (("user.x", b"\0\xff"),), read_at=LATER)
    table.remember("odd\udcff\n", record(), (), read_at=LATER)
    table.save()
    again = cache.load(str(tmp_path))
    assert again.records == {"a/b": record(), "c": record(size=2**62), "odd\udcff\n": record()}
    assert again.xattrs == {"c": (("user.x", b"\0\xff"),)}
    assert cache.load(str(tmp_path / "other")).records == {}


@pytest.mark.parametrize("field", ["mtime", "ctime"])
@pytest.mark.parametrize(("age", "kept"), [(10**9, False), (3 * 10**9, True), (-(10**12), False)])
def test_files_touched_just_before_are_not_trusted(cache, tmp_path, field, age, kept):
    """A file whose times are within two seconds of its reading, or in the future, should not be saved."""
    table = cache.load(str(tmp_path))
    table.remember("f", record(**{field: LATER - age}), (), read_at=LATER)
    assert "f" in table.records
    table.save()
    assert ("f" in cache.load(str(tmp_path)).records) is kept


def test_a_file_that_became_stable_is_saved(cache, tmp_path):
    """A file that is read again later should be trusted then."""
    table = cache.load(str(tmp_path))
    table.remember("f", record(mtime=LATER), (), read_at=LATER)
    table.remember("f", record(mtime=LATER), (), read_at=LATER + 3 * 10**9)
    table.save()
    assert cache.load(str(tmp_path)).records == {"f": record(mtime=LATER)}


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:40] + b"\x01" + data[41:],
        lambda _: b"another file",
        lambda data: data.replace(b"stats 1", b"stats 9"),
    ],
)
def test_a_damaged_file_is_an_empty_cache(cache, tmp_path, damage):
    """Whatever happened to the file, the cache should be empty rather than wrong or an error."""
    table = cache.load(str(tmp_path))
    table.remember("f", record(), (), read_at=LATER)
    table.save()
    with open(table.path, "rb") as file:
        data = file.read()
    with open(table.path, "wb") as file:
        file.write(damage(data))
    assert cache.load(str(tmp_path)).records == {}


def test_nothing_new_is_not_written(cache, tmp_path):
    """Without changes there should be no write."""
    table = cache.load(str(tmp_path))
    table.save()
    assert not os.path.exists(table.path)
    table.remember("f", record(), (), read_at=LATER)
    assert table.changed
    table.save()
    assert not table.changed


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    """A directory that cannot be made should cost time only."""
    (tmp_path / "file").write_text("")
    table = StatCache(str(tmp_path / "file" / "stats")).load(str(tmp_path))
    table.remember("f", record(), (), read_at=LATER)
    table.save()
    assert table.changed


def test_pruning(cache, tmp_path):
    """Records of files that are gone should go, those of directories that were not read should stay."""
    table = cache.load(str(tmp_path))
    for path in ("a", "b", "d/x", "d/y", "e/z"):
        table.remember(path, record(), (("user.a", b""),), read_at=LATER)
    table.prune({"": {"a": 1}, "d": {"y": 1}})
    assert sorted(table.records) == sorted(table.xattrs) == ["a", "d/y", "e/z"]


def test_the_stamp_follows_the_file(tmp_path):
    """Content, mode and time of a file should each change its stamp."""
    path = tmp_path / "f"
    path.write_text("1")
    stamps = {stamp_of(os.stat(path))}
    path.write_text("22")
    stamps.add(stamp_of(os.stat(path)))
    path.chmod(0o600)
    stamps.add(stamp_of(os.stat(path)))
    os.utime(path, (5, 5))
    stamps.add(stamp_of(os.stat(path)))
    assert len(stamps) == 4
    assert all(len(stamp) + 32 == RECORD_SIZE for stamp in stamps)


def test_fifty_thousand_records_load_quickly(cache, tmp_path):
    """A large table should be in memory in a small part of a second (processor time)."""
    table = cache.load(str(tmp_path))
    for number in range(50_000):
        table.remember(f"some/directory/{number // 100}/file{number}.py", record(), (), read_at=LATER)
    table.save()
    started = time.process_time()
    assert len(cache.load(str(tmp_path)).records) == 50_000
    assert time.process_time() - started < 0.3
