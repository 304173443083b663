"""The merged view of layers."""

from __future__ import annotations

import io

import pytest

from oci_image.errors import ImageError, NotFound
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.tree import LayerTree
from oci_image.layer.write import LayerWriter

F, D, S, H = Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.HARDLINK


def tree(*layers):
    archives, indexes = [], []
    for members in layers:
        out = io.BytesIO()
        writer = LayerWriter(out.write)
        for path, what in members.items():
            if path.endswith("/"):
                writer.add(Entry(path[:-1], D, what))
            elif isinstance(what, bytes):
                writer.add(Entry(path, F, 0o644, size=len(what)), what)
            elif what.startswith("="):
                writer.add(Entry(path, H, 0o644, link=what[1:]))
            else:
                writer.add(Entry(path, S, 0o777, link=what))
        writer.finish()
        archives.append(out.getvalue())
        indexes.append(writer.index())
    return LayerTree(indexes, lambda number, offset, size: archives[number][offset : offset + size])


BASE = {
    "bin": "usr/bin",
    "etc/": 0o755,
    "etc/passwd": b"root:x:0:0\n",
    "etc/alias": "passwd",
    "etc/abs": "/etc/alias",
    "etc/up": "../../../../etc/passwd",
    "usr/": 0o755,
    "usr/bin/": 0o755,
    "usr/bin/sh": b"#!",
    "usr/bin/bash": "=usr/bin/sh",
    "tmp/": 0o1777,
    "loop": "pool",
    "pool": "loop",
    "nowhere": "/not/there",
}


def test_lookup_follows_parents_but_not_the_last_component():
    """As lstat in the root would."""
    view = tree(BASE)
    assert view.lookup("bin").kind is S
    assert view.lookup("bin/sh").path == "usr/bin/sh"
    assert view.lookup("bin/../../etc/passwd").path == "etc/passwd"
    assert view.lookup("usr/bin/../bin/sh").path == "usr/bin/sh"
    assert view.lookup("/etc/passwd").path == "etc/passwd"
    for path in ("absent", "etc/absent", "etc/passwd/x", "loop/x", "nowhere/x", "absent/../etc"):
        assert view.lookup(path) is None
        assert not view.exists(path)
    assert view.exists("nowhere")
    assert view.exists("loop")
    assert view.lookup("") == Entry("", D, 0o755)


def test_resolve_follows_links_inside_the_root():
    """Absolute and climbing targets stay in; what is not there is taken as it stands."""
    view = tree(BASE)
    assert view.resolve("etc/abs") == "etc/passwd"
    assert view.resolve("etc/up") == "etc/passwd"
    assert view.resolve("etc/abs", follow_last=False) == "etc/abs"
    assert view.resolve("bin/new/file") == "usr/bin/new/file"
    assert view.resolve("nowhere/x") == "not/there/x"
    assert view.resolve("/../..//bin/./sh/") == "usr/bin/sh"
    assert view.resolve("") == view.resolve("/") == ""
    with pytest.raises(ImageError, match="too many symlinks"):
        view.resolve("loop/x")
    with pytest.raises(ImageError, match="etc/passwd is not a directory"):
        view.resolve("etc/alias/x")


def test_contents_come_from_the_right_layer():
    """Upper layers win, symlinks are followed, hardlinks have the content of their target."""
    view = tree(BASE, {"etc/passwd": b"new"})
    assert view.read("etc/abs", 100) == b"new"
    assert view.read("bin/bash", 2) == b"#!"
    assert view.where("etc/passwd")[0] == 1
    assert view.where("usr/bin/sh")[0] == 0
    assert view.where("usr/bin/bash")[2] == view.where("usr/bin/sh")[2]
    with pytest.raises(ImageError, match="has 3 bytes, more than the 2"):
        view.read("etc/passwd", 2)
    for path in ("etc", "absent", "nowhere", "loop"):
        with pytest.raises(NotFound):
            view.read(path, 100)
    with pytest.raises(ImageError, match="no access"):
        LayerTree([layer.index for layer in view._layers]).read("usr/bin/sh", 100)


def test_empty_files_need_no_payload():
    """Nothing is opened for nothing."""
    view = tree({"e": b""})
    assert LayerTree([view._layers[0].index]).read("e", 0) == b""


def test_whiteouts_hide_what_is_below_and_nothing_else():
    """Names, trees and whole directories; upper layers may bring them back."""
    removed = {".wh.tmp": b"", "etc/.wh.passwd": b"", "usr/.wh..wh..opq": b"", "usr/new": b""}
    view = tree(BASE, removed)
    assert view.listdir("") == ["bin", "etc", "loop", "nowhere", "pool", "usr"]
    assert view.listdir("etc") == ["abs", "alias", "up"]
    assert view.listdir("usr") == ["new"]
    assert view.lookup("usr/bin/sh") is None
    assert view.lookup("bin/sh") is None
    again = tree(BASE, removed, {"etc/passwd": b"again", "tmp/": 0o700})
    assert again.read("etc/passwd", 10) == b"again"
    assert again.lookup("tmp").mode == 0o700


def test_a_directory_brought_back_is_empty():
    """Removed in one layer, made in the next, or both in one."""
    for layers in (
        ({".wh.etc": b""}, {"etc/": 0o700}),
        ({".wh.etc": b"", "etc/": 0o700},),
        ({"etc/": 0o700, ".wh.etc": b""},),
    ):
        assert tree(BASE, *layers).listdir("etc") == []


def test_a_change_of_kind_hides_what_was_below():
    """A file or symlink covers a directory; a directory after it starts empty."""
    assert tree(BASE, {"etc": b""}).lookup("etc/passwd") is None
    assert tree(BASE, {"etc": "usr"}).listdir("etc") == ["bin"]
    assert tree(BASE, {"etc": b""}, {"etc/": 0o755}).listdir("etc") == []
    assert tree(BASE, {"bin/": 0o700}).listdir("bin") == []


def test_implied_directories_keep_the_metadata_below():
    """A member without an entry for its parent does not make the parent plain, but does cover a symlink."""
    view = tree(BASE, {"tmp/f": b"", "bin/f": b"", "a/b/c": b""})
    assert view.lookup("tmp").mode == 0o1777
    assert view.lookup("bin") == Entry("bin", D, 0o755)
    assert view.listdir("bin") == ["f"]
    assert view.where("a/b") == (-1, Entry("a/b", D, 0o755), 0)


def test_listdir_wants_a_directory():
    """Symlinks to one are followed."""
    view = tree(BASE)
    assert view.listdir("bin") == ["bash", "sh"]
    assert view.listdir("/bin/") == ["bash", "sh"]
    for path in ("etc/passwd", "absent", "loop", "nowhere"):
        with pytest.raises(NotFound):
            view.listdir(path)


def test_walk_goes_through_everything_in_order():
    """Parents before children, siblings sorted, from any start."""
    view = tree(BASE, {"usr/bin/a": b"", "usr/z": b""})
    assert [entry.path for entry in view.walk("usr")] == [
        "usr", "usr/bin", "usr/bin/a", "usr/bin/bash", "usr/bin/sh", "usr/z",
    ]  # fmt: skip
    assert next(view.walk()).path == ""
    assert [entry.path for entry in view.walk("bin")] == ["bin"]
    with pytest.raises(NotFound):
        list(view.walk("absent"))


def test_a_tree_of_no_layers_has_a_root():
    """FROM scratch."""
    view = LayerTree([])
    assert view.listdir("") == []
    assert [entry.path for entry in view.walk()] == [""]
    assert view.lookup("x") is None
    assert view.resolve("a/../b") == "b"


def test_an_opaque_root_hides_everything_below():
    """Rare, but legal."""
    assert tree(BASE, {".wh..wh..opq": b"", "f": b""}).listdir("") == ["f"]


def test_a_root_entry_is_used():
    """With its mode."""
    assert tree({"/": 0o700}).lookup("").mode == 0o700
