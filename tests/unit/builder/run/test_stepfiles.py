"""Digests of what is taken out of other steps, and unpacking by several processes at once."""

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest
from stand_ins import Absent, Bench, directory, file, symlink

from builder.errors import MissingSource
from builder.perform.selections import selection_digest
from builder.perform.stepfiles import StepFiles, digest_items
from builder.rootfs.unpacked import UnpackedLayers
from builder.scratch import Scratch
from builder.snapshots import Snapshot
from oci_image.layer.apply import apply_layer
from oci_image.layer.entry import Entry, Kind


def _entries(content="A", *, mode=0o644, uid=0, mtime=1, name="a", link="a", beside="beside", xattrs=()):
    return (
        directory("d", mtime=mtime),
        file(f"d/{name}", content, mode, uid=uid, mtime=mtime, xattrs=xattrs),
        symlink("d/link", link),
        file("outside", beside, mtime=mtime),
    )


def _digest(bench, snapshot, pattern="/d", **options):
    return digest_items(StepFiles(snapshot, bench.layers).items(pattern, **options))


@pytest.mark.parametrize("change", [{"mtime": 99}, {"beside": "changed"}])
def test_times_and_surroundings_do_not_count(bench, change):
    """What is copied is the same, so the key is."""
    assert _digest(bench, bench.base(*_entries())) == _digest(bench, bench.base(*_entries(**change)))


@pytest.mark.parametrize(
    "change",
    [
        {"content": "B"},
        {"content": "AA"},
        {"mode": 0o755},
        {"uid": 5},
        {"name": "b"},
        {"link": "b"},
        {"xattrs": (("user.x", b"1"),)},
    ],
)
def test_everything_else_counts(bench, change):
    """Content, mode, owner, names, link targets and attributes."""
    assert _digest(bench, bench.base(*_entries())) != _digest(bench, bench.base(*_entries(**change)))


def test_how_the_layers_are_cut_does_not_count(bench):
    """The merged view is what is copied."""
    one = bench.base(*_entries())
    several = Snapshot(
        (
            bench.layer(directory("d"), file("d/a", "old"), file("d/gone", "x")),
            bench.layer(*_entries()),
            bench.layer(file("d/.wh.gone")),
        )
    )
    assert _digest(bench, one) == _digest(bench, several)


def test_which_names_are_the_same_file_counts(bench):
    """A hard link is not a copy."""
    first = (directory("d"), file("d/a", "A"))
    linked = bench.base(*first, Entry("d/b", Kind.HARDLINK, 0o644, link="d/a"))
    assert _digest(bench, linked) != _digest(bench, bench.base(*first, file("d/b", "A")))


def test_bytes_do_not_move_between_names(bench):
    """Every part is framed."""
    one = bench.base(directory("d"), file("d/a", "12"), file("d/b", "3"))
    two = bench.base(directory("d"), file("d/a", "1"), file("d/b", "23"))
    assert _digest(bench, one) != _digest(bench, two)


def test_excluded_files_do_not_count(bench):
    """They are not copied."""
    one, two = bench.base(*_entries("A")), bench.base(*_entries("B"))
    assert _digest(bench, one, exclude=("a",)) == _digest(bench, two, exclude=("a",))


async def test_a_digest_is_computed_once(bench):
    """Afterwards the layers are not even asked for; a damaged note is computed again."""
    snapshot = bench.base(*_entries())
    first = await selection_digest(snapshot, "/d", bench.host)
    assert first == _digest(bench, snapshot)
    elsewhere = replace(bench.host, layers=Absent())
    assert await selection_digest(snapshot, "/d", elsewhere) == first
    with pytest.raises(AssertionError):
        await selection_digest(snapshot, "/d", elsewhere, exclude=("a",))
    (note,) = (Path(bench.state) / "selections").iterdir()
    note.write_text("nonsense")
    assert await selection_digest(snapshot, "/d", bench.host) == first
    with pytest.raises(MissingSource):
        await selection_digest(snapshot, "/nothing", bench.host)


def test_a_copy_on_disk_is_what_the_merged_view_says(bench, tmp_path):
    """Unpacked layer by layer, the result of copies is the tree that was planned with."""
    if os.getuid() != 0:
        pytest.skip("owners need root")
    root = bench.context_root
    (root / "d" / "sub").mkdir(parents=True)
    (root / "d" / "x").write_text("X")
    (root / "d" / "sub" / "y").write_text("Y")
    os.link(root / "d" / "x", root / "d" / "z")
    base = bench.base(
        directory("o", 0o700, 5, 6),
        symlink("to", "o"),
        file("o/x", "old"),
        directory("o/sub", 0o777),
        file("o/sub/kept", "kept"),
    )
    snapshot = bench.copy(bench.copy(base, "d", "/to/", owner="7:8", mode="u+s"), "d/sub", "/new/deep")
    place = tmp_path / "merged"
    place.mkdir()
    for layer in snapshot.layers:
        with bench.layers.open_tar(layer) as stream:
            apply_layer(stream, str(place), whiteouts="merge")
    on_disk = {}
    for path in sorted(place.rglob("*")):
        status = path.lstat()
        name = str(path.relative_to(place))
        mode = 0o777 if path.is_symlink() else status.st_mode & 0o7777
        on_disk[name] = (mode, status.st_uid, status.st_gid, int(status.st_mtime))
    tree = bench.tree(snapshot)
    said = {
        entry.path: (entry.mode, entry.uid, entry.gid, entry.mtime) for entry in tree.walk() if entry.path
    }
    assert on_disk == said
    assert (place / "o" / "x").read_text() == "X"
    assert (place / "o" / "x").stat().st_ino == (place / "o" / "z").stat().st_ino


def _unpack(root, start, queue):
    bench = Bench.__new__(Bench)
    bench.__dict__.update(root)
    start.wait()
    scratch = Scratch(bench.state)
    unpacked = UnpackedLayers(bench.layers, scratch, bench.state, user_namespace=False)
    queue.put(unpacked.directories(bench.snapshot))
    scratch.close()


def test_two_processes_unpack_a_layer_once(bench):
    """Both get the same complete directory."""
    if os.getuid() != 0:
        pytest.skip("owners need root")
    bench.snapshot = bench.base(directory("d"), *(file(f"d/{number}", "x" * 100) for number in range(2000)))
    context = multiprocessing.get_context("fork")
    start, queue = context.Event(), context.Queue()
    processes = [context.Process(target=_unpack, args=(vars(bench), start, queue)) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    found = {queue.get(timeout=30) for _ in processes}
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0
    ((path,),) = found
    assert len(list(Path(path, "d").iterdir())) == 2000
    assert os.listdir(Path(bench.state) / "rootfs") == [Path(path).name]
