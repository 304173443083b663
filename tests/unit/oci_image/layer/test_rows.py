"""Rows of an index that is made while its layer is written: the same as by the rules for any layer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.errors import ImageError
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.index import LayerIndex
from oci_image.layer.rows import IndexRows

_NAMES = st.sampled_from(
    ["", "a", "b", "a/b", "a/c", "a/b/c", "b/a", ".wh.a", "a/.wh.b", "a/.wh..wh..opq", "d/e"]
)


@st.composite
def _entries(draw):
    kind = draw(st.sampled_from(list(Kind)))
    link = draw(_NAMES) if kind in (Kind.SYMLINK, Kind.HARDLINK) else ""
    xattrs = draw(st.sampled_from([(), (("user.x", b"y"),)]))
    device = draw(st.integers(0, 2)) if kind in (Kind.CHARACTER, Kind.BLOCK) else 0
    size = draw(st.integers(0, 9)) if kind is Kind.FILE else 0
    return Entry(draw(_NAMES), kind, 0o644, 1, 2, 3, size, link, xattrs, device, device)


def _outcome(make):
    try:
        return make().to_bytes()
    except ImageError as problem:
        return str(problem)


@given(st.lists(_entries(), max_size=8))
def test_rows_are_those_of_any_layer(entries):
    """Whatever is written, the index is the one that reading the layer gives, or the same error."""
    rows = IndexRows()
    for number, entry in enumerate(entries):
        rows.add(entry, number)

    assert _outcome(rows.index) == _outcome(lambda: LayerIndex.of(entries, range(len(entries))))


@pytest.mark.parametrize(
    "last",
    [Entry("d/f", Kind.FILE, 0o600), Entry("d/.wh.f", Kind.FILE, 0), Entry("x/f", Kind.FILE, 0)],
    ids=str,
)
def test_an_ordinary_layer_and_one_that_is_not(last):
    """A path that comes twice, a whiteout and a missing parent are seen."""
    entries = [Entry("d", Kind.DIRECTORY, 0o755), Entry("d/f", Kind.FILE, 0o644, size=1), last]
    rows = IndexRows()
    for number, entry in enumerate(entries):
        rows.add(entry, number)

    index = rows.index()

    assert index.to_bytes() == LayerIndex.of(entries, range(3)).to_bytes()
    assert (len(index), index.hidden, index.implied) in {
        (2, frozenset(), frozenset()),
        (2, frozenset({"d/f"}), frozenset()),
        (3, frozenset(), frozenset({"x"})),
    }
