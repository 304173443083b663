"""Names out of archives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.errors import UnsafeLayer
from oci_image.layer.pathsafe import ancestors, clean, parent_of, shown

TEXTS = st.one_of(
    st.lists(st.sampled_from(["", ".", "..", "...", ".a", "a.", "b", "ü"]), max_size=6).map("/".join),
    st.text(max_size=300),
)


@given(TEXTS)
def test_a_clean_path_stays_in_the_root(name):
    """No empty part, no dot, nothing absolute; cleaning it again changes nothing. Or it is refused."""
    parts = name.split("/")
    try:
        path = clean(name)
    except UnsafeLayer:
        assert ".." in parts or "\0" in name or any(len(part.encode()) > 255 for part in parts)
        return
    assert path.split("/") == ([part for part in parts if part not in ("", ".")] or [""])
    assert ".." not in parts
    assert clean(path) == path


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "\udcff" * 255, "/".join(["a" * 15] * 256)])
def test_the_longest_names_are_allowed(name):
    """What Linux can hold."""
    assert clean(name) == name


@pytest.mark.parametrize("name", ["a" * 256, "ü" * 128, "\udcff" * 256, "/".join(["a" * 15] * 257)])
def test_longer_names_are_refused(name):
    """One byte more is too long."""
    with pytest.raises(UnsafeLayer, match="longer than"):
        clean(name)


def test_parents():
    """The root has none."""
    assert (parent_of("a/b"), parent_of("a"), parent_of("")) == ("a", "", "")
    assert ancestors("a/b/c") == ["a/b", "a", ""]
    assert ancestors("") == []


def test_names_are_shown_printable_and_short():
    """A hostile name must not reach the terminal as it is."""
    assert shown("plain/ü") == "plain/ü"
    assert "\x1b" not in shown("\x1b[31m")
    assert len(shown("a" * 10_000)) == 200
