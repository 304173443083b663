"""COPY of a context of which an earlier layer has most files already."""

import hashlib
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from stand_ins import Bench

from builder.contexts import context as contexts
from builder.contexts.context import BuildContext
from builder.contexts.statcache import StatCache
from builder.snapshots import Snapshot

SCRATCH = Snapshot()
COUNT = 300


@pytest.fixture
def read(monkeypatch):
    """The names of the files that were read to be written."""
    names = []

    def each_unchanged(directories, directory, some, stamps):
        names.extend(os.fsdecode(os.path.join(os.fsencode(directory), name)) for name in some)
        return original(directories, directory, some, stamps)

    original = contexts.each_unchanged
    monkeypatch.setattr(contexts, "each_unchanged", each_unchanged)
    return names


@pytest.fixture
def root(bench):
    """A directory of many files, two of few, and one of a name that needs a header of its own."""
    for number in range(COUNT):
        _make(bench.context_root, f"many/f{number:03}", f"content {number}")
    _make(bench.context_root, "many/sub/x", "X")
    _make(bench.context_root, "few/y", "")
    _make(bench.context_root, "ü/z", "Z" * 600)
    return bench.context_root


def _make(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _copied(bench: Bench, dest: str = "/app/", **options: object) -> str:
    """The digest of the layer of a build of its own."""
    bench.context.close()
    bench.context = BuildContext(str(bench.context_root), None, StatCache(str(bench.root / "stats")))
    return str(bench.copy(SCRATCH, "", dest, **options).layers[-1].diff_id)


@pytest.fixture
def copied_elsewhere(tmp_path):
    """The digest of the layer that a store makes which has nothing."""

    def make(root: Path, **options: object) -> str:
        (tmp_path / "elsewhere").mkdir()
        bench = Bench(tmp_path / "elsewhere")
        shutil.rmtree(bench.context_root)
        bench.context_root = root
        digest = _copied(bench, **options)
        bench.close()
        shutil.rmtree(tmp_path / "elsewhere")
        return digest

    return make


CHANGES = {
    "nothing": (os.listdir, 0),
    "content": (lambda root: _make(root, "many/f150", "changed"), 90),
    "added": (lambda root: _make(root, "many/f150a", "new"), 90),
    "added in front": (lambda root: _make(root, "many/a", "new"), 150),
    "removed": (lambda root: (root / "many/f150").unlink(), 90),
    "mode": (lambda root: (root / "many/f150").chmod(0o600), 90),
    "renamed": (lambda root: (root / "few/y").rename(root / "few/z"), 1),
    "large": (lambda root: _make(root, "many/f150", "L" * (3 << 20)), 90),
    "directory": (lambda root: (root / "few").rename(root / "fewer"), 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_layer_is_the_same_and_little_is_read(bench, root, read, copied_elsewhere, change):
    """Whatever changed, the layer should be that of a store without anything, and other files stay unread."""
    alter, most = CHANGES[change]
    _copied(bench)
    assert len(read) == COUNT + 3
    read.clear()
    alter(root)
    again = _copied(bench)
    assert len(read) <= most
    assert again == copied_elsewhere(root)


@pytest.mark.parametrize("options", [{"dest": "/other/"}, {"owner": "7:8"}, {"mode": "600"}], ids=str)
def test_what_the_bytes_hang_on_counts(bench, root, copied_elsewhere, options):
    """Another place, owner or mode should never be answered with the bytes of the earlier layer."""
    _copied(bench)
    assert _copied(bench, **options) == copied_elsewhere(root, **options)


@pytest.mark.parametrize("damage", ["layer", "short layer", "no layer", "table", "no table"])
def test_damage_costs_time_only(bench, root, read, copied_elsewhere, damage):
    """A layer or a table that was damaged in the store should not damage another layer."""
    digest = _copied(bench).partition(":")[2]
    layer, table = Path(bench.blobs.root, "blobs/sha256", digest), Path(bench.state, "runs", digest)
    if damage.startswith("no "):
        (layer if damage == "no layer" else table).unlink()
    else:
        path = table if damage == "table" else layer
        data = path.read_bytes()
        path.write_bytes(data[:100] if damage == "short layer" else data.replace(b"content 7", b"content 8"))
        if damage == "table":
            path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    read.clear()
    _make(root, "few/y", "changed")
    assert _copied(bench) == copied_elsewhere(root)
    assert "many/f070" in read


@pytest.mark.parametrize("count", [1, 64, 65, 1000])
def test_every_run_of_a_large_layer_is_found(bench, count):
    """However many runs a layer has, each is found by its key, and no other one is."""
    runs = {hashlib.sha256(b"%d" % number).digest(): b"run %d\n" % number for number in range(count)}
    # Keys that begin as others do, in front of them and behind.
    runs |= {key[:8] + bytes([fill]) * 24: b"%d" % fill for key in [*runs][:3] for fill in (0, 255)}
    with bench.blobs.writer() as blob:
        blob.write(b"".join(runs.values()))
        digest = blob.commit()
    noted, offset = bench.layers.earlier("kind"), 0
    for key, data in runs.items():
        noted.note(key, offset, data)
        offset += len(data)
    bench.layers.keep_runs(digest, noted)
    noted.close()

    with closing(bench.layers.earlier("kind")) as earlier:
        assert {key: earlier.take(key) for key in runs} == runs
        assert earlier.take(bytes(32)) is earlier.take(b"\xff" * 32) is None
        assert earlier.take(hashlib.sha256(b"other").digest()) is None
    with closing(bench.layers.earlier("other kind")) as earlier:
        assert earlier.take(next(iter(runs))) is None
