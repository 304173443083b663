"""One layer in the place of several."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.layer.entry import Entry, Kind
from oci_image.layer.merge import hides_anything, merged
from oci_image.layer.tree import LayerTree
from oci_image.layer.whiteouts import marked_path, opaque_mark_in, whiteout_for
from oci_image.layer.write import LayerWriter


class Made:
    """A layer's bytes and index."""

    def __init__(self, fill):
        self.data = bytearray()
        writer = LayerWriter(self.data.extend)
        self.entries = list(fill(writer))
        writer.finish()
        self.index = writer.index()


def layer(files):
    """A layer of paths: bytes are files, None is a directory, "gone" and "opaque" marks, "=x" a hardlink."""

    def fill(writer):
        for path, what in files.items():
            if isinstance(what, bytes):
                writer.add(Entry(path, Kind.FILE, 0o644, size=len(what)), what)
            elif what == "gone":
                writer.add(Entry(whiteout_for(path), Kind.FILE, 0), b"")
            elif what is not None and what.startswith("="):
                writer.add(Entry(path, Kind.HARDLINK, 0o644, link=what[1:]))
            elif what is not None and what.startswith(">"):
                writer.add(Entry(path, Kind.SYMLINK, 0o777, link=what[1:]))
            else:
                writer.add(Entry(path, Kind.DIRECTORY, 0o755))
                if what == "opaque":
                    writer.add(Entry(opaque_mark_in(path), Kind.FILE, 0), b"")
            yield path

    return Made(fill)


def joined(base, own):
    """The merged layer."""
    below = LayerTree([one.index for one in base]) if base else None

    def fill(writer):
        for placed in merged([one.index for one in own], below, mtime=7):
            entry = placed.entry
            content = None
            if entry.kind is Kind.FILE:
                data = own[placed.layer].data if entry.size else b""
                content = bytes(data[placed.offset : placed.offset + entry.size])
            writer.add(entry, content)
            yield entry

    return Made(fill)


def seen(layers):
    """Everything that a stack shows, with the content of files."""
    tree = LayerTree(
        [one.index for one in layers],
        lambda number, offset, size: bytes(layers[number].data[offset : offset + size]),
    )
    return [
        (entry.path, entry.kind, entry.link, tree.read(entry.path, 99) if entry.kind is Kind.FILE else None)
        for entry in tree.walk()
    ]


PATHS = ["a", "a/b", "a/b/c", "a/x", "d", "d/e"]


@st.composite
def stacks(draw):
    """Layers that a builder could write: parents are repeated, marks stand for themselves."""
    number = 0

    def one(*, marks):
        nonlocal number
        files = {}
        for path in PATHS:
            parent = path.rpartition("/")[0]
            if parent and files.get(parent, 0) not in (None, "opaque"):
                continue
            kinds = ["none", "dir", "file", *(["gone", "opaque"] if marks else [])]
            kind = draw(st.sampled_from(kinds))
            number += 1
            if kind == "file":
                files[path] = b"%d" % number
            elif kind != "none":
                files[path] = {"dir": None, "gone": "gone", "opaque": "opaque"}[kind]
        return layer(files)

    base = [one(marks=False) for _ in range(draw(st.integers(0, 2)))]
    return base, [one(marks=True) for _ in range(draw(st.integers(2, 4)))]


@given(stacks())
def test_the_stack_shows_the_same(stack):
    """What is seen over a base is the same with one layer, and nothing is removed that was not there."""
    base, own = stack
    one = joined(base, own)

    assert seen([*base, one]) == seen([*base, *own])
    below = {path for path, *_ in seen(base)} if base else set()
    for entry in one.entries:
        hidden = marked_path(entry.path)
        assert hidden is None or hidden in below


def test_marks_over_a_base():
    """Removed files get a mark, replaced directories an opaque one, and what came and went none."""
    base = [layer({"d": None, "d/old": b"1", "f": b"2", "keep": b"3"})]
    own = [
        layer({"f": "gone", "new": b"4", "d": b"now a file"}),
        layer({"new": "gone", "d": "gone"}),
        layer({"d": None, "d/fresh": b"5"}),
    ]

    one = joined(base, own)

    assert [entry.path for entry in one.entries] == [".wh.f", "d", "d/.wh..wh..opq", "d/fresh"]
    assert one.entries[0].mtime == 7
    assert hides_anything([part.index for part in own])
    assert not hides_anything([own[2].index])


def test_without_a_base_nothing_is_marked():
    """On scratch there is nothing to remove."""
    own = [layer({"a": b"1", "b": b"2"}), layer({"a": "gone"})]

    assert [entry.path for entry in joined([], own).entries] == ["b"]


def test_hardlinks_stay():
    """Names of one file stay one file, also when its first name is replaced."""
    own = [layer({"a": b"same", "b": "=a", "c": "=a"}), layer({"a": b"other"})]

    one = joined([], own)

    assert [(entry.path, entry.kind, entry.link) for entry in one.entries] == [
        ("a", Kind.FILE, ""),
        ("b", Kind.FILE, ""),
        ("c", Kind.HARDLINK, "b"),
    ]
    assert seen([one]) == seen(own)


@pytest.mark.parametrize("what", [b"file", ">keep"])
def test_nothing_is_marked_below_what_is_no_directory(what):
    """A directory of the base that became something else needs no marks for what was in it."""
    base = [layer({"d": None, "d/old": b"1"})]
    own = [layer({"d": None, "d/old": "gone"}), layer({"d": "gone", "x": b"1"}), layer({"d": what})]

    assert [entry.path for entry in joined(base, own).entries] == ["d", "x"]


def test_a_directory_that_was_a_file_in_between_is_empty():
    """What a file replaced does not come back when a directory replaces the file, marks or not."""
    base = [layer({"d": None, "d/old": b"1"})]
    own = [layer({"d": b"file"}), layer({"d": None, "d/new": b"2"})]

    one = joined(base, own)

    assert seen([*base, one]) == seen([*base, *own])
    assert "d/.wh..wh..opq" in [entry.path for entry in one.entries]
