"""Layer indexes."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.errors import StoreProblem, UnsafeLayer
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.index import LayerIndex, build_index
from oci_image.layer.write import LayerWriter

F, D, S, H = Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.HARDLINK
MEMBERS = (
    Entry("d", D, 0o1777, 1, 2, -3, xattrs=(("user.a", b"\0\xff"),)),
    Entry("d/f", F, 0o4755, 4_000_000_000, 5, 1 << 40, 3),
    Entry("d/h", H, 0o4755, link="d/f"),
    Entry("ü/\udcff", S, 0o777, link="\udcfe"),
    Entry("null", Kind.CHARACTER, 0o666, major=1, minor=3),
    Entry("d/.wh.gone", F, 0),
    Entry("o/.wh..wh..opq", F, 0),
)


def written(members):
    out = io.BytesIO()
    writer = LayerWriter(out.write)
    for entry in members:
        writer.add(entry, b"abc"[: entry.size] if entry.kind is F else None)
    writer.finish()
    return writer, out.getvalue()


def test_the_writer_and_the_archive_give_the_same_index():
    """Recording while writing spares reading, and changes nothing."""
    writer, data = written(MEMBERS)
    index = writer.index()
    assert index.to_bytes() == build_index(io.BytesIO(data)).to_bytes()
    assert index.paths == ["d", "d/f", "d/h", "ü/\udcff", "null"]
    assert list(index)[:2] == list(MEMBERS[:2])
    assert index.entry(4) == MEMBERS[4]
    assert (index.implied, index.hidden) == ({"ü", "o"}, {"d/gone", "o"})
    assert (index.is_directory(0), index.is_directory(1)) == (True, False)


def test_a_hardlink_stands_for_its_target():
    """Same kind, metadata and place of the content under another name."""
    writer, data = written(MEMBERS)
    index = writer.index()
    assert index.entry(2) == index.entry(1)._replace(path="d/h")
    assert index.offset(1) == index.offset(2)
    assert data[index.offset(2) :][:3] == b"abc"


def test_duplicates_and_replaced_trees_are_gone():
    """The last of a name counts, and a file takes away what was below a directory of its name."""
    members = (
        Entry("a", F, 0o600), Entry("a", F, 0o644),
        Entry("b", D, 0o755), Entry("b/x", F, 0o644), Entry("b", F, 0o644),
        Entry("c", F, 0o644), Entry("c/", D, 0o755)._replace(path="c"),
    )  # fmt: skip
    index = written(members)[0].index()
    assert [(entry.path, entry.kind, entry.mode) for entry in index] == [
        ("a", F, 0o644),
        ("b", F, 0o644),
        ("c", D, 0o755),
    ]
    assert index.hidden == {"c"}


def test_members_below_links_of_the_layer_are_where_the_links_lead():
    """The index has the paths that extraction gives."""
    members = (Entry("usr/lib", D, 0o755), Entry("lib", S, 0o777, link="usr/lib"), Entry("lib/f", F, 0o644))
    assert written(members)[0].index().paths == ["usr/lib", "lib", "usr/lib/f"]


def test_contradictions_are_refused():
    """As by extraction."""
    with pytest.raises(UnsafeLayer):
        written((Entry("f", F, 0o644), Entry("f/g", F, 0o644)))[0].index()


@pytest.mark.parametrize(
    "members", [(), MEMBERS[:1], MEMBERS, MEMBERS[5:], (Entry("", D, 0o700), Entry(".wh..wh..opq", F, 0))]
)
def test_an_index_survives_being_saved(members):
    """Empty ones, and those of nothing but marks, too."""
    index = written(members)[0].index()
    loaded = LayerIndex.from_bytes(index.to_bytes())
    assert list(loaded) == list(index)
    assert (loaded.implied, loaded.hidden, len(loaded)) == (index.implied, index.hidden, len(index))
    assert [loaded.offset(row) for row in range(len(loaded))] == [
        index.offset(row) for row in range(len(index))
    ]
    assert loaded.to_bytes() == index.to_bytes()


@given(st.data())
def test_a_damaged_index_is_a_store_problem_or_an_index(data):
    """So that whoever keeps it can make it anew."""
    saved = written(MEMBERS)[0].index().to_bytes()
    cut = data.draw(st.integers(0, len(saved) - 1))
    with pytest.raises(StoreProblem):
        LayerIndex.from_bytes(saved[:cut])
    changed = bytearray(saved)
    changed[data.draw(st.integers(0, len(saved) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(StoreProblem):
        list(LayerIndex.from_bytes(bytes(changed)))
