"""What every blob store guarantees to those who read."""

from __future__ import annotations

import pytest

from oci_image.digest import Digest
from oci_image.errors import InvalidDigest, NotFound
from oci_image.store.base import local_path
from tests.contract.image_store.blobs import ABC, content, put


def test_blob_comes_back(blob_store):
    """Committed bytes are found under their digest, with their size, also in the list."""
    assert put(blob_store, b"abc") == ABC
    assert blob_store.stat(ABC) == 3
    assert content(blob_store, ABC) == b"abc"
    assert list(blob_store.digests()) == [ABC]


def test_empty_blob(blob_store):
    """A blob may be empty."""
    digest = put(blob_store, b"")
    assert (blob_store.stat(digest), content(blob_store, digest)) == (0, b"")


def test_sha512_blob(blob_store):
    """The writer's algorithm names the blob, and the list contains blobs of all algorithms."""
    digest = put(blob_store, b"abc", "sha512")
    assert digest == Digest.of(b"abc", "sha512")
    put(blob_store, b"abc")
    assert set(blob_store.digests()) == {digest, ABC}


def test_unknown_algorithm_is_refused(blob_store):
    """A writer for a digest that nobody can check is refused."""
    with pytest.raises((InvalidDigest, ValueError)):
        blob_store.writer("md4711")


def test_absent_blob(blob_store):
    """What is not there is None, False or NotFound, never another error, also before the store exists."""
    assert blob_store.stat(ABC) is None
    assert blob_store.delete(ABC) is False
    assert blob_store.modified(ABC) is None
    assert blob_store.touch(ABC) is False
    assert local_path(blob_store, ABC) is None
    assert list(blob_store.digests()) == []
    with pytest.raises(NotFound, match=ABC.hex):
        blob_store.open(ABC)


def test_deleted_blob_is_gone_but_readers_keep_it(blob_store):
    """Deleting takes the blob away from new readers, not from one that is reading."""
    put(blob_store, b"abc")
    with blob_store.open(ABC) as stream:
        assert blob_store.delete(ABC) is True
        assert stream.read() == b"abc"
    assert blob_store.stat(ABC) is None
    assert blob_store.delete(ABC) is False


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (0, 0, b""),
        (8, 100, b"89"),
        (10, None, b""),
        (11, 5, b""),
        (2**40, 1, b""),
    ],
)
def test_parts(blob_store, offset, length, expected):
    """A part is what slicing would give, cut at the end of the blob."""
    digest = put(blob_store, b"0123456789")
    assert content(blob_store, digest, offset, length) == expected


def test_part_can_be_read_in_pieces(blob_store):
    """A part ends where it should also when it is read little by little."""
    digest = put(blob_store, bytes(range(256)) * 1000)
    with blob_store.open(digest, 1000, 70_000) as stream:
        pieces = list(iter(lambda: stream.read(999), b""))
    assert b"".join(pieces) == (bytes(range(256)) * 1000)[1000:71_000]


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
def test_negative_parts_are_refused(blob_store, offset, length):
    """A negative offset or length is the caller's mistake."""
    put(blob_store, b"abc")
    with pytest.raises(ValueError, match="negative"):
        blob_store.open(ABC, offset, length)
