"""Cache documents and inline annotations: what is written is read again, and nothing else is believed."""

import json
from contextlib import suppress

import pytest
from cache_values import digest, result
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.cachetransfer.document import CachedMount, CacheDocument
from builder.cachetransfer.inline import read_inline
from builder.graph import KEY_VERSION
from oci_image.errors import InvalidDocument
from oci_image.image import chain_id

DOCUMENT = CacheDocument(
    layers=(digest("a"), digest("b"), digest("m")),
    results=(
        result("one", base=["base"], layers=["a"]),
        result("two", base=["base"], layers=["a", "b"], size=7),
        result("other", layers=["b"]),
    ),
    mounts=(CachedMount(key="0f-1", id="pip", layer=digest("m")),),
)


def test_round_trip():
    """Nothing is lost."""
    assert CacheDocument.from_bytes(DOCUMENT.to_bytes(), "it") == DOCUMENT


def test_digests_only():
    """Besides ids of mounts there is no text of the build in a document."""
    value = json.loads(DOCUMENT.to_bytes())
    assert set(value) == {"format", "keyVersion", "layers", "bases", "results", "mounts"}
    assert set(value["results"][0]) == {"definition", "content", "base", "layers", "size"}


@pytest.mark.parametrize(
    ("member", "value"), [("format", 2), ("format", None), ("keyVersion", KEY_VERSION + 1)]
)
def test_other_versions_are_refused(member, value):
    """They are told from damage, and not looked into."""
    document = json.loads(DOCUMENT.to_bytes()) | {member: value, "layers": "?"}
    with pytest.raises(InvalidDocument, match=r"format|keys"):
        CacheDocument.from_bytes(json.dumps(document).encode(), "it")


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.pop("layers"),
        lambda value: value["layers"].pop(),
        lambda value: value["layers"].__setitem__(0, "sha256:1"),
        lambda value: value["results"][0].__setitem__("layers", [3]),
        lambda value: value["results"][0].__setitem__("layers", [-1]),
        lambda value: value["results"][0].__setitem__("layers", [True]),
        lambda value: value["results"][0].__setitem__("base", 9),
        lambda value: value["results"][0].__setitem__("definition", 5),
        lambda value: value["results"].append([]),
        lambda value: value["results"][0].__setitem__("size", -1),
        lambda value: value["mounts"][0].__setitem__("key", "../../etc"),
        lambda value: value["mounts"][0].__setitem__("key", ""),
        lambda value: value["mounts"].append(7),
    ],
)
def test_what_does_not_fit_is_refused(change):
    """A document that contradicts itself is none."""
    value = json.loads(DOCUMENT.to_bytes())
    change(value)
    with pytest.raises(InvalidDocument, match="it is no usable build cache"):
        CacheDocument.from_bytes(json.dumps(value).encode(), "it")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["layers", "bases", "results", "mounts", "x"]), JSON))
def test_any_json_is_a_document_or_an_error(value):
    """Reading never fails in another way."""
    raw = json.dumps({"format": 1, "keyVersion": KEY_VERSION, **value}).encode()
    with suppress(InvalidDocument):
        CacheDocument.from_bytes(raw, "it")


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_no_document(raw):
    """Damage is an error."""
    with pytest.raises(InvalidDocument):
        CacheDocument.from_bytes(raw, "it")


DIFF_IDS = (digest("base"), digest("a"), digest("b"))


@settings(deadline=None)
@given(JSON)
def test_any_annotation_is_a_cache_or_an_error(rows):
    """The same for the annotation of an image."""
    text = json.dumps({"format": 1, "keyVersion": KEY_VERSION, "results": rows})
    with suppress(InvalidDocument):
        read_inline(text, DIFF_IDS, "it")


@pytest.mark.parametrize("row", [[1, 4, 0], [2, 1, 0], [0, 1, -1], [True, 1, 0], [0, 1]])
def test_an_annotation_has_to_fit_its_image(row):
    """Counts of layers are within the image."""
    rows = [[str(digest("d")), str(digest("c")), str(chain_id(DIFF_IDS)), *row]]
    text = json.dumps({"format": 1, "keyVersion": KEY_VERSION, "results": rows})
    with pytest.raises(InvalidDocument):
        read_inline(text, DIFF_IDS, "it")


def test_an_annotation_names_layers_by_number():
    """Base and own layers are taken from the image."""
    rows = [[str(digest("d")), str(digest("c")), str(chain_id(DIFF_IDS[:2])), 1, 2, 5]]
    text = json.dumps({"format": 1, "keyVersion": KEY_VERSION, "results": rows})
    (found,) = read_inline(text, DIFF_IDS, "it")
    assert (found.base, found.layers, found.size) == (DIFF_IDS[:1], DIFF_IDS[1:2], 5)


def test_an_annotation_of_other_layers_means_nothing():
    """Somebody rewrote the layers of the image, and left the annotation."""
    rows = [[str(digest("d")), str(digest("c")), str(chain_id(DIFF_IDS[:2])), 1, 2, 5]]
    text = json.dumps({"format": 1, "keyVersion": KEY_VERSION, "results": rows})
    assert read_inline(text, (DIFF_IDS[0], digest("rewritten")), "it") == ()
