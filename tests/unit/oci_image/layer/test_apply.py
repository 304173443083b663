"""Extraction of layers onto directories."""

from __future__ import annotations

import errno
import io
import os
import stat
import subprocess
from pathlib import Path

import pytest

from oci_image.errors import StoreProblem, UnsafeLayer
from oci_image.layer import extract
from oci_image.layer.apply import apply_layer, remove_tree
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.read import Limits
from oci_image.layer.write import LayerWriter

F, D, S, H = Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.HARDLINK
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
NASTY = sorted((Path(__file__).parents[4] / "testdata" / "layers").glob("*.tar"))

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")
MODES = pytest.mark.parametrize("mode", ["overlay", "merge"])


def layer(*entries):
    out = io.BytesIO()
    writer = LayerWriter(out.write)
    for entry in entries:
        writer.add(entry, b"x" * entry.size if entry.kind is F else None)
    writer.finish()
    return io.BytesIO(out.getvalue())


def file(path, size=1, **fields):
    return Entry(path, F, fields.pop("mode", 0o644), size=size, **fields)


def directory(path, mode=0o755, **fields):
    return Entry(path, D, mode, **fields)


def link(path, target):
    return Entry(path, S, 0o777, link=target)


def hardlink(path, target):
    return Entry(path, H, 0o644, link=target)


def whiteout(path):
    return Entry(path, F, 0)


@pytest.fixture
def root(tmp_path):
    """An empty directory, with something beside it that must not change."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    place = tmp_path / "root"
    place.mkdir(0o755)
    before = _snapshot(tmp_path / "outside")
    yield place
    assert _snapshot(tmp_path / "outside") == before
    assert sorted(os.listdir(tmp_path)) == ["outside", "root"]


def _snapshot(place):
    found = {}
    for path in sorted(place.rglob("*")):
        status = path.lstat()
        found[str(path)] = (
            status.st_mode,
            status.st_uid,
            status.st_size,
            status.st_mtime_ns,
            status.st_nlink,
        )
    return found


@MODES
def test_everything_is_as_the_entries_say(root, mode):
    """Modes with setuid, owners, times, links, devices, attributes and file capabilities."""
    xattrs = (("security.capability", CAPABILITY), ("user.note", b"\0\n"))
    entries = (
        directory("", 0o750, mtime=11),
        directory("d", 0o3711, uid=5, gid=6, mtime=77, xattrs=(("user.d", b"1"),)),
        file("d/f", 9, mode=0o6755, uid=1, gid=2, mtime=3, xattrs=xattrs),
        hardlink("d/h", "d/f"),
        Entry("d/s", S, 0o777, 7, 8, 9, link="/etc/passwd"),
        Entry("d/null", Kind.CHARACTER, 0o666, 1, 2, 3, major=1, minor=3),
        Entry("d/disk", Kind.BLOCK, 0o660, major=8, minor=1),
        Entry("d/fifo", Kind.FIFO, 0o622),
        file("d/large", 3_000_001, mtime=-5),
    )
    old = os.umask(0o077)
    try:
        applied = apply_layer(layer(*entries), str(root), whiteouts=mode)
    finally:
        os.umask(old)
    assert applied.members == len(entries)
    assert (applied.implied, applied.skipped, applied.hides_everything) == ((), (), False)
    for entry in entries:
        status = os.lstat(root / entry.path)
        if entry.kind is H:
            assert status.st_ino == os.lstat(root / entry.link).st_ino
            continue
        assert (status.st_uid, status.st_gid, status.st_mtime) == (entry.uid, entry.gid, entry.mtime), entry
        if entry.kind is not S:
            assert stat.S_IMODE(status.st_mode) == entry.mode, entry
    assert (root / "d/f").read_bytes() == b"x" * 9
    assert (root / "d/large").stat().st_size == 3_000_001
    assert os.readlink(root / "d/s") == "/etc/passwd"
    assert os.lstat(root / "d/null").st_rdev == os.makedev(1, 3)
    assert stat.S_ISBLK(os.lstat(root / "d/disk").st_mode)
    assert stat.S_ISFIFO(os.lstat(root / "d/fifo").st_mode)
    assert os.getxattr(root / "d/f", "security.capability") == CAPABILITY
    assert os.getxattr(root / "d/f", "user.note") == b"\0\n"
    assert os.getxattr(root / "d", "user.d") == b"1"


def test_gnu_tar_and_we_extract_the_same(root, tmp_path_factory):
    """A tree with names of all sorts, packed by GNU tar."""
    source = tmp_path_factory.mktemp("source")
    (source / "a/b").mkdir(parents=True)
    (source / ("n" * 200)).write_bytes(b"long")
    (source / "a/ümlaut").write_text("ü")
    os.link(source / "a/ümlaut", source / "a/b/again")
    os.symlink("b/again", source / "a/link")
    os.chmod(source / "a/b", 0o1730)
    os.chown(source / "a/b", 1234, 5678)
    packed = subprocess.run(["tar", "-C", source, "-cf", "-", "."], capture_output=True, check=True).stdout
    apply_layer(io.BytesIO(packed), str(root), whiteouts="merge")
    compared = subprocess.run(["tar", "-C", root, "-df", "-"], input=packed, capture_output=True, check=False)
    assert compared.stdout.decode().splitlines() == [
        line for line in compared.stdout.decode().splitlines() if "Mod time differs" in line
    ]
    assert (root / "a/ümlaut").stat().st_nlink == 2


@MODES
@pytest.mark.parametrize(
    "target", ["{outside}", "../outside", "/../../outside", "../../../../../..{outside}"]
)
def test_symlinks_never_lead_out_of_the_root(root, mode, target):
    """A member below a symlink of its own layer lands inside the root, wherever the symlink points."""
    target = target.format(outside=root.parent / "outside")
    apply_layer(layer(link("l", target), file("l/secret", 3), file("l/new")), str(root), whiteouts=mode)
    assert os.readlink(root / "l") == target
    assert len([name for _, _, names in os.walk(root) for name in names if name in ("new", "secret")]) == 2


@MODES
def test_symlinks_of_the_same_layer_are_followed_inside_the_root(root, mode):
    """The common case: a layer with /lib -> usr/lib and members below lib."""
    entries = (
        directory("usr"),
        directory("usr/lib", 0o711),
        link("lib", "usr/lib"),
        link("b", "/lib"),
        file("b/f", 4),
    )
    applied = apply_layer(layer(*entries), str(root), whiteouts=mode)
    assert (root / "usr/lib/f").stat().st_size == 4
    assert (root / "lib").is_symlink()
    assert applied.implied == ()


def test_symlinks_of_lower_layers_are_covered_not_followed(root):
    """As below an overlay mount: a directory takes the place of the link."""
    os.symlink(root.parent / "outside", root / "l")
    os.symlink(root.parent / "outside", root / "m")
    applied = apply_layer(layer(file("l/f"), whiteout("m/.wh..wh..opq")), str(root), whiteouts="merge")
    assert (root / "l").is_dir()
    assert not (root / "l").is_symlink()
    assert sorted(os.listdir(root / "m")) == []
    assert applied.implied == ("l", "m")


def test_whiteouts_below_lower_symlinks_remove_nothing_outside(root):
    """`.wh.secret` in a directory that is a symlink below."""
    os.symlink(root.parent / "outside", root / "l")
    apply_layer(layer(whiteout("l/.wh.secret")), str(root), whiteouts="merge")
    assert os.listdir(root / "l") == []


def test_a_file_replaces_a_lower_symlink_instead_of_writing_through_it(root):
    """Neither symlinks nor hardlinks of lower layers carry a write elsewhere."""
    os.symlink(root.parent / "outside/secret", root / "s")
    os.link(root.parent / "outside/secret", root / "h")
    apply_layer(layer(file("s", 5), file("h", 6)), str(root), whiteouts="merge")
    assert (root / "s").read_bytes() == b"xxxxx"
    assert (root / "h").read_bytes() == b"xxxxxx"
    # The fixture compares link counts as well.
    os.link(root / "h", root / "again")


@MODES
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ((file("f"), file("f/g")), "f/g: its parent f is not a directory"),
        ((link("a", "b"), link("b", "a"), file("a/f")), "too many symlinks"),
        ((hardlink("h", "etc/passwd"),), "h: the hardlink's target etc/passwd is not in this layer"),
        ((hardlink("h", "later"), file("later")), "not in this layer"),
        ((directory("d"), hardlink("h", "d")), "is a directory"),
        ((file("h"), hardlink("h", "h")), "to itself"),
        ((link("l", "../outside"), hardlink("h", "l/secret")), "not in this layer"),
        ((file("", 0),), "root of a layer must be a directory"),
        ((whiteout(".wh."),), "names nothing"),
        ((whiteout("d/.wh..."),), "names nothing"),
        ((whiteout("d/.wh.."),), "names nothing"),
        ((whiteout("d/.wh..wh.x"),), "names nothing"),
        ((file(".wh.d/f"),), "named like a whiteout"),
        ((Entry("c", Kind.CHARACTER, 0),), "0:0"),
    ],
)
def test_what_breaks_the_rules_is_refused(root, mode, entries, message):
    """With the name of the member in the message."""
    with pytest.raises(UnsafeLayer, match=message):
        apply_layer(layer(*entries), str(root), whiteouts=mode)


@MODES
def test_a_hardlink_to_a_symlink_links_the_symlink(root, mode):
    """It is not followed, least of all to the outside."""
    secret = str(root.parent / "outside/secret")
    apply_layer(layer(link("s", secret), hardlink("h", "s")), str(root), whiteouts=mode)
    assert os.readlink(root / "h") == secret
    assert os.lstat(root / "h").st_ino == os.lstat(root / "s").st_ino


@MODES
def test_of_duplicates_the_last_counts(root, mode):
    """In every combination of kinds."""
    entries = (
        file("a", 1), file("a", 2),
        directory("b"), file("b/x"), file("b", 3),
        file("c"), directory("c", 0o700), file("c/y"),
        link("d", "../outside"), directory("d"), file("d/z"),
        directory("e", 0o711), link("e", "../outside"), file("e", 4),
    )  # fmt: skip
    apply_layer(layer(*entries), str(root), whiteouts=mode)
    assert {name: (root / name).stat().st_size for name in "abe"} == {"a": 2, "b": 3, "e": 4}
    assert os.listdir(root / "c") == ["y"]
    assert os.listdir(root / "d") == ["z"]


@MODES
def test_many_deep_directories_do_not_use_up_descriptors(root, mode):
    """A thousand levels, and hundreds of siblings with hardlinks across them."""
    before = len(os.listdir("/proc/self/fd"))
    deep = "/".join("d" * 1000)
    siblings = [entry for number in range(400) for entry in (directory(f"s{number}"), file(f"s{number}/f"))]
    links = [hardlink(f"s{number}/h", f"s{399 - number}/f") for number in range(400)]
    again = [hardlink(f"s{number}/h", f"s{number}/f") for number in range(400)]
    apply_layer(layer(file(f"{deep}/f"), *siblings, *links, *again), str(root), whiteouts=mode)
    remove_tree(str(root / "d"))
    assert (root / "s7/h").stat().st_ino == (root / "s7/f").stat().st_ino
    assert len(os.listdir("/proc/self/fd")) <= before


def test_overlay_marks_are_those_of_overlayfs(root):
    """A device 0:0, and an attribute whose name depends on where root is root."""
    entries = (
        directory("d"),
        whiteout("d/.wh..wh..opq"),
        file("d/new"),
        whiteout(".wh.gone"),
        whiteout("i/.wh.x"),
    )
    apply_layer(layer(*entries), str(root), whiteouts="overlay")
    status = os.lstat(root / "gone")
    assert stat.S_ISCHR(status.st_mode)
    assert status.st_rdev == 0
    assert os.getxattr(root / "d", "trusted.overlay.opaque") == b"y"
    assert os.listdir(root / "d") == ["new"]
    assert stat.S_ISCHR(os.lstat(root / "i/x").st_mode)
    other = root / "other"
    other.mkdir()
    apply_layer(layer(*entries), str(other), whiteouts="overlay", user_namespace=True)
    assert os.getxattr(other / "d", "user.overlay.opaque") == b"y"


def test_an_opaque_directory_holds_no_whiteouts(root):
    """overlayfs would list them, for there is nothing below that they could hide."""
    apply_layer(
        layer(directory("d"), whiteout("d/.wh..wh..opq"), whiteout("d/.wh.x")), str(root), whiteouts="overlay"
    )
    assert os.listdir(root / "d") == []


@MODES
@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_does_not_hide_its_own_layer(root, mode, first):
    """Whether it stands before or after what the layer brings under the name."""
    if mode == "merge":
        (root / "d").mkdir()
        (root / "d/old").write_text("old")
        (root / "f").write_text("old")
    marks, members = (whiteout(".wh.d"), whiteout(".wh.f")), (directory("d"), file("d/new"), file("f", 5))
    apply_layer(layer(*(marks + members if first else members + marks)), str(root), whiteouts=mode)
    assert os.listdir(root / "d") == ["new"]
    assert (root / "f").stat().st_size == 5
    if mode == "overlay":
        assert os.getxattr(root / "d", "trusted.overlay.opaque") == b"y"


def test_merging_removes_what_is_removed(root):
    """Files, trees, and the old content of opaque directories at any depth."""
    for path in ("tree/a/b", "d/sub/deep", "keep"):
        (root / path).mkdir(parents=True)
    for path in ("file", "tree/a/b/c", "d/old", "d/sub/old", "d/sub/deep/old", "keep/f"):
        (root / path).write_text("old")
    entries = (
        whiteout(".wh.file"),
        whiteout(".wh.tree"),
        file("d/sub/new"),
        whiteout("d/.wh..wh..opq"),
        whiteout(".wh.x"),
    )
    apply_layer(layer(*entries), str(root), whiteouts="merge")
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == [
        "d", "d/sub", "d/sub/new", "keep", "keep/f",
    ]  # fmt: skip


def test_a_merged_directory_takes_the_metadata_of_the_upper_layer(root):
    """Its attributes included: what the upper layer does not have is gone."""
    apply_layer(
        layer(directory("d", 0o700, uid=1, xattrs=(("user.a", b"1"), ("user.b", b"2")))),
        str(root),
        whiteouts="merge",
    )
    apply_layer(
        layer(directory("d", 0o755, mtime=5, xattrs=(("user.b", b"3"),))), str(root), whiteouts="merge"
    )
    status = (root / "d").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o755, 0, 5)
    assert os.listxattr(root / "d") == ["user.b"]
    assert os.getxattr(root / "d", "user.b") == b"3"


def test_an_opaque_root_is_reported(root):
    """overlayfs knows no opaque root, so the caller must not mount the layers below."""
    assert apply_layer(layer(whiteout(".wh..wh..opq")), str(root), whiteouts="overlay").hides_everything
    (root / "old").write_text("old")
    apply_layer(layer(file("new"), whiteout(".wh..wh..opq")), str(root), whiteouts="merge")
    assert os.listdir(root) == ["new"]


@MODES
def test_bookkeeping_of_aufs_is_passed_over(root, mode):
    """Layers made by Docker on AUFS still have it."""
    apply_layer(
        layer(directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2"), file(".wh..wh.aufs"), file("f")),
        str(root),
        whiteouts=mode,
    )
    assert os.listdir(root) == ["f"]


def test_attributes_of_overlayfs_are_never_set(root):
    """With trusted.overlay.redirect a layer could show one directory in the place of another."""
    xattrs = (("trusted.overlay.redirect", b"/etc"), ("user.overlay.opaque", b"y"), ("user.ok", b"1"))
    applied = apply_layer(layer(directory("d", xattrs=xattrs)), str(root), whiteouts="overlay")
    assert os.listxattr(root / "d") == ["user.ok"]
    assert [note.split(": ")[:2] for note in applied.skipped] == [
        ["d", "trusted.overlay.redirect"],
        ["d", "user.overlay.opaque"],
    ]


def test_attributes_that_the_kernel_refuses_are_noted(root):
    """user.* on a symlink is one."""
    applied = apply_layer(
        layer(Entry("s", S, 0o777, link="t", xattrs=(("user.a", b"1"), ("trusted.b", b"2")))),
        str(root),
        whiteouts="merge",
    )
    assert applied.skipped == ("s: user.a: Operation not permitted",)
    assert os.getxattr(root / "s", "trusted.b", follow_symlinks=False) == b"2"


def test_implied_directories_are_made_plain_and_reported(root):
    """0755 and 0:0 whatever the umask or a setgid directory above say."""
    old = os.umask(0o077)
    try:
        applied = apply_layer(
            layer(directory("s", 0o2775, gid=50), file("s/i/j/f")), str(root), whiteouts="overlay"
        )
    finally:
        os.umask(old)
    assert applied.implied == ("s/i", "s/i/j")
    for name in applied.implied:
        status = (root / name).stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o755, 0, 0)


def test_limits_hold(root):
    """A layer that unpacks to more than is allowed is refused before its bytes are written."""
    with pytest.raises(UnsafeLayer, match="more than 100 bytes"):
        apply_layer(layer(file("f", 101)), str(root), whiteouts="overlay", limits=Limits(content=100))
    assert os.listdir(root) == []


def test_a_failing_file_system_is_a_store_problem(root):
    """With the path and the reason of the kernel."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", root], check=False).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        with pytest.raises(StoreProblem, match=r"cannot extract f: no space left") as problem:
            apply_layer(layer(file("f", 1_000_000)), str(root), whiteouts="merge")
        assert problem.value.__cause__.errno == errno.ENOSPC
    finally:
        subprocess.run(["umount", root], check=True)


def test_refused_owners_and_devices_are_errors_or_reported(root, monkeypatch):
    """As in a user namespace that maps few ids: each refusal goes to the callback, or ends the extraction."""

    def chown(place, uid, gid, **_):
        if uid:
            raise OSError(errno.EINVAL, "Invalid argument")

    def mknod(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(extract.os, "fchown", chown)
    monkeypatch.setattr(extract.os, "chown", chown)
    monkeypatch.setattr(extract.os, "mknod", mknod)
    device = Entry("dev", Kind.BLOCK, 0o600, major=1, minor=2)
    with pytest.raises(UnsafeLayer, match=r"f: the owner 7:8 cannot be set here") as refused:
        apply_layer(layer(file("f", uid=7, gid=8)), str(root), whiteouts="overlay", user_namespace=True)
    assert "/etc/subuid" in refused.value.hint
    with pytest.raises(UnsafeLayer, match=r"dev: the device 1:2 cannot be made"):
        apply_layer(layer(device), str(root), whiteouts="overlay", user_namespace=True)
    owners, devices = [], []
    entries = (file("f", uid=7, gid=8), directory("d", uid=9), Entry("s", S, 0o777, 5, 6, link="t"), device)
    apply_layer(
        layer(*entries),
        str(root),
        whiteouts="overlay",
        user_namespace=True,
        on_chown_refused=lambda *args: owners.append(args),
        on_device_refused=devices.append,
    )
    assert owners == [("f", 7, 8), ("d", 9, 0), ("s", 5, 6)]
    assert devices == ["dev"]
    with pytest.raises(UnsafeLayer, match="whiteout cannot be made"):
        apply_layer(
            layer(whiteout(".wh.x")), str(root), whiteouts="overlay", on_device_refused=devices.append
        )


@MODES
@pytest.mark.parametrize("archive", NASTY, ids=lambda path: path.stem)
def test_kept_nasty_archives_are_refused_or_contained(root, mode, archive):
    """The files in testdata/layers, each of a kind that some extractor has fallen for."""
    with archive.open("rb") as stream:
        if archive.stem.startswith("contained-"):
            apply_layer(stream, str(root), whiteouts=mode)
        else:
            with pytest.raises(UnsafeLayer):
                apply_layer(stream, str(root), whiteouts=mode)


def test_there_are_nasty_archives():
    """The parametrised test above has something to do."""
    assert len(NASTY) >= 10
