"""The JSON encoder and the bounded decoder."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image import jsonbytes
from oci_image.errors import InvalidDocument

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(), values, max_size=5)


@given(objects)
def test_round_trip(value):
    """What is encoded is decoded to the same value, in the same order."""
    raw = jsonbytes.encode(value)
    again = jsonbytes.decode_object(raw, "it")
    assert again == value
    assert list(again) == list(value)
    assert jsonbytes.encode(again) == raw


@given(objects)
def test_sorted_form_does_not_depend_on_order(value):
    """The sorted form of equal values is equal."""
    turned = dict(reversed(value.items()))
    assert jsonbytes.encode_sorted(value) == jsonbytes.encode_sorted(turned)


def test_form():
    """Compact, in the order of the keys, and UTF-8 as it is."""
    assert jsonbytes.encode({"b": [1, "ä<&>"], "a": None}) == '{"b":[1,"ä<&>"],"a":null}'.encode()
    assert jsonbytes.encode_sorted({"b": "ä", "a": 1}) == b'{"a":1,"b":"\\u00e4"}'


def test_what_is_no_unicode_is_replaced():
    """Bytes that are not UTF-8, which Python holds as surrogates, give a document that is UTF-8."""
    name = b"na\xefve".decode(errors="surrogateescape")
    assert jsonbytes.encode({"a": name, "\ud800": 1}) == '{"a":"na\ufffdve","\ufffd":1}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_strange_numbers_are_written(value):
    """Numbers that JSON does not have are refused."""
    with pytest.raises(ValueError, match="JSON"):
        jsonbytes.encode({"a": value})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"{}{}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 10_000 + b"}",
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-32"),
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=range(17),
)
def test_bad_documents_are_refused(raw):
    """Anything but an object in UTF-8 is refused with the name of the document, without a recursion error."""
    with pytest.raises(InvalidDocument, match="manifest of app"):
        jsonbytes.decode_object(raw, "manifest of app")


def test_size_is_bounded():
    """A document may be as large as the limit, not larger."""
    raw = json.dumps({"a": "x" * 100}).encode()
    assert jsonbytes.decode_object(raw, "it", limit=len(raw))
    with pytest.raises(InvalidDocument, match="too large"):
        jsonbytes.decode_object(raw, "it", limit=len(raw) - 1)


@given(st.binary(max_size=100))
def test_any_bytes_are_an_object_or_refused(raw):
    """No other error comes out of the decoder."""
    with contextlib.suppress(InvalidDocument):
        assert isinstance(jsonbytes.decode_object(raw, "it"), dict)
