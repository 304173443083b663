"""Rows of an index that is made while its layer is written: the same as by the rules for any layer."""

import io
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.errors import ImageError
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.index import LayerIndex
from oci_image.layer.rows import FileRow, IndexRows
from oci_image.layer.runs import find_run, make_run
from oci_image.layer.write import BUFFER, LayerWriter
from oci_image.spool import Spool

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


_FILE_NAMES = st.lists(st.sampled_from(["a", "b", "ä", "\udcff", "x" * 99, ".wh.a", "0"]), unique=True)


@given(st.sampled_from(["", "d", "d/e", "ü", "x" * 60, "missing"]), _FILE_NAMES, st.booleans(), st.data())
def test_many_files_are_those_added_one_by_one(directory, names, spooled, data):
    """Files of a directory should come to the same bytes and the same index, added together or singly."""
    made = [Entry(path, Kind.DIRECTORY, 0o755) for path in ("d", "d/e", "ü", "x" * 60)]
    sizes = st.sampled_from([0, 1, 511, 512, 513, BUFFER, BUFFER + 1])
    numbers = st.sampled_from([0, 5, 0o7777777, 1 << 30])
    rows = [FileRow(0o644, data.draw(numbers), 0, data.draw(numbers), data.draw(sizes)) for _ in names]
    contents = [bytes([65 + number]) * row.size for number, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        alone, together = io.BytesIO(), io.BytesIO()
        spool = Spool(folder, most=64) if spooled else None
        first, second = LayerWriter(alone.write), LayerWriter(together.write, spool=spool)
        for writer in (first, second):
            for entry in made:
                writer.add(entry)
        prefix = f"{directory}/" if directory else ""
        for name, row, content in zip(names, rows, contents, strict=True):
            first.add(Entry(prefix + name, Kind.FILE, *row), content)
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        run = make_run(directory, encoded, rows, contents)
        second.add_run(run)
        assert find_run(directory, encoded, rows, run.data) == run
        assert find_run(directory, encoded, rows, run.data + b"x") is None
        for writer in (first, second):
            writer.add(Entry("last", Kind.SYMLINK, 0o777, link="d"))
            writer.finish()

        assert together.getvalue() == alone.getvalue()
        assert second.count == first.count
        assert b"".join(second.index_parts()) == first.index().to_bytes() == second.index().to_bytes()


@pytest.mark.parametrize("size", [2, 4])
def test_a_content_of_another_size_is_refused(size):
    """A file that is not as long as its header says would break the archive."""
    with pytest.raises(ImageError, match=r"^f: the content has not the 3 bytes"):
        make_run("", [b"f"], [FileRow(0o644, 0, 0, 0, 3)], [bytes(size)])
