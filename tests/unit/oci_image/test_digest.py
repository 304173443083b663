"""Digests."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.digest import Digest, Hasher
from oci_image.errors import InvalidDigest

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_round_trip(algorithm):
    """A digest prints as it is parsed."""
    digest = Digest.of(b"abc", algorithm)
    assert str(digest) == f"{algorithm}:{hashlib.new(algorithm, b'abc').hexdigest()}"
    assert Digest.parse(str(digest)) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        EMPTY[:-1],
        EMPTY + "0",
        EMPTY + "\n",
        " " + EMPTY,
        EMPTY.upper(),
        "sha256:" + EMPTY[7:].upper(),
        "sha512:" + EMPTY[7:],
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "SHA256:" + EMPTY[7:],
        "sha256:" + "g" * 64,
        "sha256:" + "\u0661" * 64,
        "sha256:../../../../../../../../../../../../../../../../../../../etc/passwd",
        "sha256+b64:" + EMPTY[7:],
    ],
)
def test_what_is_no_digest_is_refused(text):
    """Only supported algorithms with lower-case hexadecimal digits of the full length are digests."""
    with pytest.raises(InvalidDigest):
        Digest.parse(text)


@given(st.text())
def test_any_text_is_a_digest_or_refused(text):
    """Parsing gives a digest that prints as the text, or the one error."""
    with contextlib.suppress(InvalidDigest):
        assert str(Digest.parse(text)) == text


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "", "nonsense"])
def test_unsupported_algorithms(algorithm):
    """A digest cannot be computed that could not be parsed."""
    with pytest.raises(InvalidDigest, match="unsupported"):
        Digest.of(b"", algorithm)
    with pytest.raises(InvalidDigest, match="unsupported"):
        Hasher(algorithm)


@given(st.lists(st.binary(max_size=5000)))
def test_hasher_is_the_digest_of_everything(pieces):
    """Bytes that pass by in pieces have the digest and the size of the whole."""
    hasher = Hasher()
    for piece in pieces:
        hasher.update(piece)
        hasher.digest()
    assert (hasher.digest(), hasher.size) == (Digest.of(b"".join(pieces)), sum(map(len, pieces)))


def test_short_form_and_order():
    """The short form has twelve digits; digests sort by their text."""
    digests = [Digest.of(bytes([number])) for number in range(9)]
    assert Digest.parse(EMPTY).short == "e3b0c44298fc"
    assert [str(digest) for digest in sorted(digests)] == sorted(map(str, digests))
