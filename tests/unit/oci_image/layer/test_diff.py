"""Upper directories of overlay mounts, and plain directories, as entries."""

from __future__ import annotations

import io
import os
import socket

import pytest

from oci_image.errors import ImageError, StoreProblem
from oci_image.layer.diff import diff_upper, tree_entries
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.read import LayerReader
from oci_image.layer.write import LayerWriter

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts and trusted attributes need root")


class Lower:
    """Layers below that have the given entries."""

    def __init__(self, *entries):
        self._entries = {entry.path: entry for entry in entries}

    def lookup(self, path):
        return self._entries.get(path)


def directory(path, mode=0o755):
    return Entry(path, Kind.DIRECTORY, mode)


def file(path):
    return Entry(path, Kind.FILE, 0o644)


def diff(upper, *lower, **options):
    out = io.BytesIO()
    writer = LayerWriter(out.write)
    options = {"stamp": lambda _: 0} | options
    count = diff_upper(str(upper), write=writer, lower=Lower(*lower), **options)
    writer.finish()
    found = [(entry, payload.read()) for entry, payload in LayerReader(io.BytesIO(out.getvalue()))]
    assert count == len(found)
    return found


def paths(*args, **options):
    return [entry.path for entry, _ in diff(*args, **options)]


def whiteout(path):
    os.mknod(path, 0o020000, 0)


def test_new_files_keep_their_metadata(tmp_path):
    """Mode with setuid, owner, content, link, attributes and file capabilities."""
    (tmp_path / "f").write_bytes(b"content")
    os.chown(tmp_path / "f", 5, 6)
    os.chmod(tmp_path / "f", 0o4755)
    os.setxattr(tmp_path / "f", "security.capability", CAPABILITY)
    os.setxattr(tmp_path / "f", "user.a", b"\0")
    os.symlink("some/where", tmp_path / "s")
    os.mkfifo(tmp_path / "p", 0o620)
    os.mknod(tmp_path / "z", 0o600 | 0o060000, os.makedev(8, 1))
    os.utime(tmp_path / "f", (1, 77.9))
    xattrs = (("security.capability", CAPABILITY), ("user.a", b"\0"))
    os.chmod(tmp_path / "p", 0o620)
    assert diff(tmp_path, stamp=int)[0] == (
        Entry("f", Kind.FILE, 0o4755, 5, 6, 77, 7, xattrs=xattrs),
        b"content",
    )
    assert [entry for entry, _ in diff(tmp_path)][1:] == [
        Entry("p", Kind.FIFO, 0o620),
        Entry("s", Kind.SYMLINK, 0o777, link="some/where"),
        Entry("z", Kind.BLOCK, 0o600, major=8, minor=1),
    ]


def test_the_order_depends_on_names_alone(tmp_path):
    """Parents before children, siblings by the bytes of their names."""
    names = ["b", "a", "B", "ü", "a.b", "\udcff", "\U00010000", "\uffff"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(b"")
    found = paths(tmp_path)
    ordered = sorted(names, key=os.fsencode)
    assert found == ordered + [f"{name}/f" for name in ordered]


def test_hardlinks_stay_hardlinks(tmp_path):
    """The first name in the order has the content; links to symlinks are kept too."""
    (tmp_path / "z").write_bytes(b"x")
    (tmp_path / "d").mkdir()
    os.link(tmp_path / "z", tmp_path / "d/a")
    os.symlink("t", tmp_path / "s1")
    os.link(tmp_path / "s1", tmp_path / "s2", follow_symlinks=False)
    found = {entry.path: (entry.kind, entry.link) for entry, _ in diff(tmp_path)}
    assert found["z"] == (Kind.FILE, "")
    assert found["d/a"] == (Kind.HARDLINK, "z")
    assert found["s2"] == (Kind.HARDLINK, "s1")


def test_whiteouts_only_for_what_is_below(tmp_path):
    """A file that was made and removed again leaves no trace."""
    whiteout(tmp_path / "gone")
    whiteout(tmp_path / "never")
    assert diff(tmp_path, file("gone")) == [(Entry(".wh.gone", Kind.FILE, 0), b"")]


def test_opaque_directories(tmp_path):
    """A mark only where a directory below is hidden; whiteouts inside say nothing more."""
    for name in ("replaced", "new", "was-file", "plain"):
        (tmp_path / name / "sub").mkdir(parents=True)
        if name != "plain":
            os.setxattr(tmp_path / name, "trusted.overlay.opaque", b"y")
    os.setxattr(tmp_path / "replaced/sub", "trusted.overlay.opaque", b"y")
    whiteout(tmp_path / "replaced/x")
    lower = (
        directory("replaced"),
        directory("replaced/sub"),
        file("replaced/x"),
        file("was-file"),
        directory("plain"),
    )
    found = diff(tmp_path, *lower)
    assert [entry.path for entry, _ in found] == [
        "new", "plain", "replaced", "replaced/.wh..wh..opq", "was-file",
        "new/sub", "plain/sub", "replaced/sub", "was-file/sub",
    ]  # fmt: skip
    assert all(entry.xattrs == () for entry, _ in found)


def test_in_a_user_namespace_the_attribute_is_another(tmp_path):
    """Mounts with userxattr use user.overlay.opaque, and trusted.* means nothing there."""
    for name, attribute in (("u", "user.overlay.opaque"), ("t", "trusted.overlay.opaque")):
        (tmp_path / name).mkdir()
        os.setxattr(tmp_path / name, attribute, b"y")
    lower = (directory("u"), directory("t"))
    assert paths(tmp_path, *lower, user_namespace=True) == ["t", "u", "u/.wh..wh..opq"]
    assert paths(tmp_path, *lower) == ["t", "t/.wh..wh..opq", "u"]


@pytest.mark.parametrize("name", ["redirect", "metacopy"])
def test_redirected_directories_are_an_error(tmp_path, name):
    """Their content is not where they are, so a layer of them would lack it."""
    (tmp_path / "d").mkdir()
    os.setxattr(tmp_path / "d", f"trusted.overlay.{name}", b"/other")
    with pytest.raises(ImageError, match=r"d: .*redirect_dir or metacopy"):
        diff(tmp_path)


def test_names_like_whiteouts_are_an_error(tmp_path):
    """They would remove something instead of being there."""
    (tmp_path / ".wh.x").write_text("")
    with pytest.raises(ImageError, match=r"\.wh\.x: .*would remove"):
        diff(tmp_path)


def test_a_directory_with_other_metadata_alone_is_an_entry(tmp_path):
    """As everywhere: chmod of a directory copies it up."""
    (tmp_path / "d").mkdir()
    assert paths(tmp_path, directory("d", 0o700)) == ["d"]
    assert paths(tmp_path, directory("d", 0o755)) == ["d"]


def test_sockets_are_left_out(tmp_path):
    """No archive can hold them."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert diff(tmp_path) == []


def test_places_of_mounts_are_left_out_with_directories_touched_for_them(tmp_path):
    """But not with directories that the step changed itself."""
    for path in ("etc", "run/secrets/deep", "changed", "full", "opaque"):
        (tmp_path / path).mkdir(parents=True)
    skip = {
        "etc/hosts",
        "etc/resolv.conf",
        "run/secrets/deep/s",
        "changed/m",
        "full/m",
        "opaque/m",
        "absent/m",
    }
    for path in skip - {"absent/m"}:
        (tmp_path / path).write_text("")
    (tmp_path / "full/own").write_text("")
    os.setxattr(tmp_path / "opaque", "trusted.overlay.opaque", b"y")
    lower = (
        directory("etc"),
        directory("changed", 0o700),
        directory("full"),
        directory("opaque"),
        directory("run"),
    )
    found = paths(tmp_path, *lower, skip=frozenset(skip))
    assert found == ["changed", "full", "opaque", "opaque/.wh..wh..opq", "full/own"]


def test_labels_of_the_host_are_left_out(tmp_path):
    """Only attributes that belong to the file, not to the machine."""
    (tmp_path / "f").write_text("")
    for name in ("trusted.mine", "user.mine", "trusted.overlay.origin"):
        os.setxattr(tmp_path / "f", name, b"1")
    assert [name for name, _ in diff(tmp_path)[0][0].xattrs] == ["trusted.mine", "user.mine"]


def test_a_plain_directory_has_no_whiteouts(tmp_path):
    """`tree_entries` gives what is there, each file open for the time of its step."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"abc")
    whiteout(tmp_path / "w")
    found = {}
    for entry, content in tree_entries(str(tmp_path), stamp=lambda _: 5, skip=frozenset({"none"})):
        found[entry.path] = entry, None if content is None else os.read(content, 10)
    assert found["d/f"] == (Entry("d/f", Kind.FILE, 0o644, mtime=5, size=3), b"abc")
    assert found["d"] == (Entry("d", Kind.DIRECTORY, 0o755, mtime=5), None)
    assert found["w"][0].kind is Kind.CHARACTER
    assert len(found) == 3


def test_what_cannot_be_read_is_named(tmp_path):
    """A file that vanishes between listing and opening."""
    (tmp_path / "a").write_text("")
    (tmp_path / "b").write_text("")
    entries = tree_entries(str(tmp_path))
    assert next(entries)[0].path == "a"
    (tmp_path / "b").unlink()
    with pytest.raises(StoreProblem, match="b: cannot be read: No such file"):
        next(entries)
