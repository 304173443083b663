"""The stat cache."""

import os
import time

import pytest

from builder.contexts.folderrecord import STAMP, group_digest, join_names
from builder.contexts.statcache import StatCache, stamp_of
from oci_image.digest import Digest

OLD = 1_000_000_000 * 10**9
LATER = 2_000_000_000 * 10**9
DIGEST = bytes.fromhex(Digest.of(b"x").hex)


def stamp(size=1, mtime=OLD, ctime=OLD, inode=7, mode=0o100644):
    return STAMP.pack(size, mtime, ctime, inode, mode)


@pytest.fixture
def cache(tmp_path):
    return StatCache(str(tmp_path / "stats"))


def remember(table, *paths, xattrs=(), read_at=LATER, **fields):
    for path in paths:
        table.remember(path, stamp(**fields), DIGEST, xattrs, read_at=read_at)


def test_what_was_saved_is_loaded(cache, tmp_path):
    """Digests and attributes should come back for the same root and stamp, and for no other."""
    table = cache.load(str(tmp_path))
    assert table.folders == {}
    remember(table, "a/b", "odd\udcff\n", "a/c/d")
    remember(table, "c", xattrs=(("user.x", b"\0\xff"),), size=2**62)
    assert table.digest("a", "b", stamp()) == DIGEST
    table.save({})
    again = cache.load(str(tmp_path))
    assert sorted(again.folders) == ["", "a", "a/c"]
    assert again.digest("a", "b", stamp()) == again.digest("", "odd\udcff\n", stamp()) == DIGEST
    assert again.digest("", "c", stamp(size=2**62)) == DIGEST
    assert again.xattrs == {"c": (("user.x", b"\0\xff"),)}
    assert cache.load(str(tmp_path / "other")).folders == {}


@pytest.mark.parametrize("field", ["size", "mtime", "ctime", "inode", "mode"])
def test_any_difference_makes_a_file_unknown(cache, tmp_path, field):
    """A file should be known only while everything that stat says is the same."""
    table = cache.load(str(tmp_path))
    remember(table, "d/f")
    for state in (table, cache.load(str(tmp_path))):
        assert state.digest("d", "f", stamp(**{field: 12345})) is None
        assert state.digest("d", "g", stamp()) is None
        table.save({})


@pytest.mark.parametrize("field", ["mtime", "ctime"])
@pytest.mark.parametrize(("age", "kept"), [(10**9, False), (3 * 10**9, True), (-(10**12), False)])
def test_files_touched_just_before_are_not_trusted(cache, tmp_path, field, age, kept):
    """A file whose times are within two seconds of its reading, or in the future, should not be saved."""
    table = cache.load(str(tmp_path))
    remember(table, "f", **{field: LATER - age})
    remember(table, "g")
    assert table.digest("", "f", stamp(**{field: LATER - age})) == DIGEST
    table.save({})
    again = cache.load(str(tmp_path))
    assert (again.digest("", "f", stamp(**{field: LATER - age})) == DIGEST) is kept
    assert again.digest("", "g", stamp()) == DIGEST


def test_a_file_that_became_stable_is_saved(cache, tmp_path):
    """A file that is read again later should be trusted then."""
    table = cache.load(str(tmp_path))
    remember(table, "f", mtime=LATER)
    remember(table, "f", mtime=LATER, read_at=LATER + 3 * 10**9)
    table.save({})
    assert cache.load(str(tmp_path)).digest("", "f", stamp(mtime=LATER)) == DIGEST


def test_a_record_stands_for_a_whole_directory(cache, tmp_path):
    """A record should have the names in order, and the digest of them all."""
    table = cache.load(str(tmp_path))
    remember(table, "d/b", "d/a")
    table.save({})
    record = cache.load(str(tmp_path)).folders["d"]
    assert record.names.read() == join_names(["a", "b"]) == b"a\0b"
    assert record.stamps.read() == stamp() * 2
    assert record.group == group_digest(b"a\0b", stamp() * 2, DIGEST * 2)
    assert group_digest(b"", b"", b"") != record.group != group_digest(b"a\0c", stamp() * 2, DIGEST * 2)
    assert group_digest(b"a", stamp(mtime=5, ctime=5, inode=5), DIGEST) == group_digest(b"a", stamp(), DIGEST)


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
    remember(table, "f")
    table.save({})
    with open(table.path, "rb") as file:
        data = file.read()
    with open(table.path, "wb") as file:
        file.write(damage(data))
    assert cache.load(str(tmp_path)).folders == {}


def test_nothing_new_is_not_written(cache, tmp_path):
    """Without changes there should be no write."""
    table = cache.load(str(tmp_path))
    table.save({})
    assert not os.path.exists(table.path)
    remember(table, "f")
    assert table.changed
    table.save({})
    assert not table.changed
    table.outdated("unknown")
    assert not table.changed


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    """A directory that cannot be made should cost time only."""
    (tmp_path / "file").write_text("")
    table = StatCache(str(tmp_path / "file" / "stats")).load(str(tmp_path))
    remember(table, "f")
    table.save({})
    assert table.changed


def test_what_is_gone_is_forgotten(cache, tmp_path):
    """Files and directories that are gone should go, those of directories that were not read should stay."""
    table = cache.load(str(tmp_path))
    remember(table, "a", "b", "d/x", "d/y", "e/z", "gone/f", "gone/below/g", xattrs=(("user.a", b""),))
    table.save({})
    table = cache.load(str(tmp_path))
    table.outdated("")
    table.outdated("d")
    table.save({"": {"a": 1, "d": 1, "e": 1}, "d": {"y": 1}})
    again = cache.load(str(tmp_path))
    assert {path: list(record.known) for path, record in again.folders.items()} == {
        "": ["a"],
        "d": ["y"],
        "e": ["z"],
    }
    assert sorted(again.xattrs) == ["a", "d/y", "e/z"]


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
    assert {len(one) for one in stamps} == {STAMP.size}


def test_fifty_thousand_files_load_quickly(cache, tmp_path):
    """A large table should be in memory in a small part of a second (processor time)."""
    table = cache.load(str(tmp_path))
    remember(table, *(f"some/directory/{number // 100}/file{number}.py" for number in range(50_000)))
    table.save({})
    started = time.process_time()
    assert len(cache.load(str(tmp_path)).folders) == 500
    assert time.process_time() - started < 0.1
